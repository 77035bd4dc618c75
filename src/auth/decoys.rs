//! Keys that stand in for a key that is not registered, so that asking for one takes as long as a
//! bad signature (C16). What they say is never believed; their private halves were not kept.

use super::keys::{Family, VerifyingKey};

/// One key of each family.
pub(super) struct Decoys([VerifyingKey; 4]);

impl Decoys {
    pub(super) fn new() -> Decoys {
        Decoys([RSA, P256, P384, ED25519].map(|pem| {
            VerifyingKey::from_pem(pem)
                .expect("the constants below are keys: every test makes them")
        }))
    }

    /// A key that takes as long as any other of the family.
    pub(super) fn of(&self, family: Family) -> &VerifyingKey {
        let [rsa, p256, p384, ed25519] = &self.0;
        match family {
            Family::Rsa => rsa,
            Family::P256 => p256,
            Family::P384 => p384,
            Family::Ed25519 => ed25519,
        }
    }
}

const RSA: &str = "\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAlS0vPR9K0GMziaQU03xO
usSMo9tre/JuuZtpuNycGL6elEUO3pE0iMOYVM3EouGgu2hu6IZRmVQiw5TIPerS
ZxtCpy6TcOKo2CGvzI8ljpFfN9n3ruYnLtmJd8gFY3fpOj/n49EnXe37W+A/e6T2
vQAPrhch9i1IuF/AZjtpEww3a7XmWv0Fv8uRCXrnsws9qo0luZWVCIuL7/FBbFzW
AHoiltCwj1NhhwB+/dKmiZdQOGNyTNw7vX30jiJ6mB10SvYl5xtFUf96P0Nm8U/j
9M6Cre3VAOVM89Vvn4WZScOFJrIdz/BL1UdaARV7/hyhgGtHkMcbnKnQv2qp+XhN
IQIDAQAB
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
    fn a_decoy_is_of_the_family_it_stands_in_for() {
        let decoys = Decoys::new();
        for family in [Family::Rsa, Family::P256, Family::P384, Family::Ed25519] {
            assert_eq!(decoys.of(family).family, family);
        }
    }
}
