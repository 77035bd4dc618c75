//! Keys that stand in for a key that is not registered, so that asking for one takes as long as a
//! bad signature (C16). What they say is never believed; their private halves were not kept.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::{Family, VerifyingKey};
use super::token::Parsed;

/// Keys of each family; of RSA keys of three lengths.
pub(super) struct Decoys {
    rsa: [Rsa; 3],
    p256: VerifyingKey,
    p384: VerifyingKey,
    ed25519: VerifyingKey,
}

struct Rsa {
    key: VerifyingKey,
    /// In base64url: as long as the modulus and below it. Other ones a check refuses at once.
    signature: String,
    bytes: usize,
}

impl Decoys {
    pub(super) fn new() -> Decoys {
        let key = |pem: &str| {
            VerifyingKey::from_pem(pem)
                .expect("the constants below are keys: every test makes them")
        };
        let rsa = |(pem, bytes): (&str, usize)| {
            let signature = URL_SAFE_NO_PAD.encode([vec![0], vec![0x55; bytes - 1]].concat());
            Rsa { key: key(pem), signature, bytes }
        };
        Decoys {
            rsa: [(RSA_2048, 256), (RSA_3072, 384), (RSA_4096, 512)].map(rsa),
            p256: key(P256),
            p384: key(P384),
            ed25519: key(ED25519),
        }
    }

    /// Takes as long as a registered key that might have made such a signature and did not.
    ///
    /// How long an RSA key takes depends on its length, and so on that of the signature. Whether
    /// the signature is below the modulus would tell them apart too, so it is not the one sent.
    pub(super) fn check(&self, token: &Parsed<'_>) {
        let (key, signature) = match token.algorithm.family {
            Family::Rsa => {
                let [short, medium, long] = &self.rsa;
                let fits = |rsa: &&Rsa| token.signature_bytes.len() <= rsa.bytes;
                let rsa = [short, medium].into_iter().find(fits).unwrap_or(long);
                (&rsa.key, rsa.signature.as_str())
            }
            Family::P256 => (&self.p256, token.signature),
            Family::P384 => (&self.p384, token.signature),
            Family::Ed25519 => (&self.ed25519, token.signature),
        };
        key.verify(token.algorithm, token.message, signature);
    }
}

const RSA_2048: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlS0vPR9K0GMziaQU03xO
usSMo9tre/JuuZtpuNycGL6elEUO3pE0iMOYVM3EouGgu2hu6IZRmVQiw5TIPerS
ZxtCpy6TcOKo2CGvzI8ljpFfN9n3ruYnLtmJd8gFY3fpOj/n49EnXe37W+A/e6T2
vQAPrhch9i1IuF/AZjtpEww3a7XmWv0Fv8uRCXrnsws9qo0luZWVCIuL7/FBbFzW
AHoiltCwj1NhhwB+/dKmiZdQOGNyTNw7vX30jiJ6mB10SvYl5xtFUf96P0Nm8U/j
9M6Cre3VAOVM89Vvn4WZScOFJrIdz/BL1UdaARV7/hyhgGtHkMcbnKnQv2qp+XhN
IQIDAQAB
-----END PUBLIC KEY-----";

const RSA_3072: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBojANBgkqhkiG9w0BAQEFAAOCAY8AMIIBigKCAYEA2jnl1wDhWMJ2DhAMxjOO
fEP9RvF7mwJVmFM+spYQoTue2YNNLSCODIpHoTlqWMr5XSuMnDgY9P53NZX1nYhJ
boQwReasiAzRP34m7y10fnMgE9Q0lVZ7UKfbidCjyuDuRK59Lphk7bbe1befdQZB
JZObIgfXzSJ6ZbAl12UR9Gp+EY5y4lRqvm00SKH3tXGKZGaZg75ipCj4e9zLI/vf
pbY4mv2P/W/OluzPooDor2SmT/VjtrgPnyR3ZgVbYAEfojl0sZKINcHNodMoDmdx
YgziYVUCAutZCxC1g531kZpG0trBFOKEIkjp/sy0hiAyZNHrw8cKs/P+PEJodXMY
rUr0GsT+MS0Z1JtlFIiUXMeaStIEI7IkVt35MGp3Jp3aLW4GA6C+eNWaOhDsGQEV
/GGl2eWtbcKBR1CaXDQWR1il7p1YSPdMEwK/AKgjzNSmtzbEILsIm9qXoB8VeV29
6G15K1m1tU7LsC688gP0AwpnrEyOfieSE++sxOv7JDu7AgMBAAE=
-----END PUBLIC KEY-----";

const RSA_4096: &str = "\
-----BEGIN PUBLIC KEY-----
MIICIjANBgkqhkiG9w0BAQEFAAOCAg8AMIICCgKCAgEA6p/jibdD67KZAz1PWOpX
LPq3eBWZAwIvwSBdjXS+8C4783n4zJfJMaiNYpZ6HN0BT2egae2nSmV7M/P3t1Vm
cYHjAxNdU612Nn2aCx1l8jhd1czKTbXIBJXJXv1ukgvIy5S94RkTexJZF29wR2Bc
dLZGwQN7lVc7qEOrKMxYLqXoWUG10eUpX+ppZBAeL8rwA8/TZWgpMkM3SJQXfHhc
mzMfnIgItdUaEJPqEV6MTlf1bnIy7AqU7bTa8zqKgFLOUieGEce8rkmIhgvJigxi
+m5qWNB3tI8PX8cScRdF+KHzv3NI0ITKj4NZM8rDcSVJxCcqRBOH4KS3BCAE8Bn1
2IiFwRHGvMKJCwqbV9YbumShySE7C8Q/uNEH/7yOJkrHQQrG8c3YtEEQ7QjgfaKo
ej5Uwmy2KeQT58tuE3vwykNKTw+5wTzom3zKq64nb0Z5hD2zjvi2KsimjrFm7Egm
H2r69b4bQLoB4Rd139yt6sqWOLQyS8TY9qxSkLQtORZu+jGEzFEvEuFdomTiGmCu
DHjeQfYlQNb5kYmkGHPzVRJ3IiJmHomGAlXAzKuYPzHEPrEhjdvbPc94mY87C8bq
mJBSISgPls6d9S46PDZDKGd63lL+lfvqtmf35H7Ipe1VDrHOmE4i4QWVcOnfvFOY
nnGP2itwt80A5DIxra4ujY8CAwEAAQ==
-----END PUBLIC KEY-----";

const P256: &str = "\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE7+D+RdOWUpN91gzHpS9iSHTA8RTC
JJpoWOErs90pbmcOvzBKbTfsHrSg0W3iaMtHHpLNC69QCjGQdoRMX5hu4g==
-----END PUBLIC KEY-----";

const P384: &str = "\
-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEN2HuPYQfyNz0wFXZ5dZF9QAJQWL9v3ta
HVrQqCyhtMLdYDzsCL4/Pm1BiD10mNMp/2bdXi1NtX4915pAfpQlw6xDUInt1gnF
N59CLCW0N+eZAo/iNwcx/Ub/ps6Rd+0q
-----END PUBLIC KEY-----";

const ED25519: &str = "\
-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEALC4sh2f99ienG8nYn63B0IkyZR+ruFKWbUFaJFm/n3Q=
-----END PUBLIC KEY-----";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoy_is_of_the_family_and_the_length_that_it_stands_in_for() {
        let decoys = Decoys::new();
        for rsa in &decoys.rsa {
            let signature = URL_SAFE_NO_PAD.decode(&rsa.signature).unwrap();
            assert_eq!((rsa.key.family, signature.len()), (Family::Rsa, rsa.bytes));
            assert!(rsa.key.may_have_made(&signature));
        }
        let families = [&decoys.p256, &decoys.p384, &decoys.ed25519].map(|key| key.family);
        assert_eq!(families, [Family::P256, Family::P384, Family::Ed25519]);
    }
}
