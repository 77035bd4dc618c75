//! The key pairs of a data directory: made with it, registered with its broker, kept in DIR/keys.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use farebox::auth::{
    Role, TokenRequest, canonical_public_key, check_key_id, generate_key_pair, sign,
};
use farebox::broker::Broker;
use farebox::domain::ids::Text;
use farebox::domain::keys::{KeyClass, NewKey, RegisteredKey};
use farebox::env::{Clock, SystemClock};

use crate::cli::{KeyFile, Token, TokenRole, say};

const ADMINISTRATION: (&str, KeyClass) = ("administration-1", KeyClass::Administration);
const CLIENT: (&str, KeyClass) = ("client-1", KeyClass::Client);

/// Reads the public keys that the command line names.
pub(crate) fn read(administration: &[KeyFile], client: &[KeyFile]) -> Result<Vec<NewKey>, String> {
    let flags = [
        ("--administration-key", KeyClass::Administration, administration),
        ("--client-key", KeyClass::Client, client),
    ];
    let mut keys = Vec::new();
    for (flag, class, files) in flags {
        for file in files {
            let wrong = |why: String| format!("{flag} {}={}: {why}", file.id, file.path.display());
            let key = read_one(class, file).map_err(wrong)?;
            if keys.iter().any(|other: &NewKey| (other.class, &other.id) == (class, &key.id)) {
                return Err(wrong("the id is there twice".to_owned()));
            }
            keys.push(key);
        }
    }
    Ok(keys)
}

fn read_one(class: KeyClass, file: &KeyFile) -> Result<NewKey, String> {
    check_key_id(&file.id).map_err(|error| error.to_string())?;
    let id = Text::new(&file.id).map_err(|error| error.to_string())?;
    let text = fs::read_to_string(&file.path).map_err(|error| error.to_string())?;
    let pem = canonical_public_key(&text).map_err(|error| format!("the file {error}"))?;
    Ok(NewKey { id, class, pem })
}

/// Registers the keys that were given and whose ids are free, and in a new directory makes a pair
/// of each class of which none was. A start that was interrupted before it registered goes on with the files it finds.
pub(crate) async fn ensure(broker: &Broker, data: &Path, given: Vec<NewKey>) -> Result<(), String> {
    let registered = broker.keys();
    // The last administration key cannot be deleted. A client key can: it must not come back.
    let is_new = !registered.iter().any(|key| key.class == KeyClass::Administration);
    let mut keys = given;
    for (id, class) in [ADMINISTRATION, CLIENT] {
        if is_new && !keys.iter().any(|key| key.class == class) {
            let pem = public_half(data, id);
            let pem = pem.map_err(|error| format!("the key pair {id}: {error}"))?;
            let id = Text::new(id).map_err(|error| error.to_string())?;
            keys.push(NewKey { id, class, pem });
        } else if registered.iter().any(|key| key.class == class && key.id.as_str() == id) {
            let path = pem_path(data, id);
            if !path.exists() {
                tracing::warn!(path = %path.display(), "the private key is gone: no more tokens");
            }
        }
    }
    keys.retain(|key| {
        let known = registered.iter().find(|known| is_named(known, key));
        if known.is_some_and(|known| known.pem != key.pem) {
            tracing::warn!(
                id = %key.id,
                kind = key.class.as_str(),
                "another key is registered under this id and stays: the start never replaces one; \
                 send the file's key with PUT /{}s if it is to take its place, or take the flag away",
                key.class.as_str()
            );
        }
        known.is_none()
    });
    if keys.is_empty() {
        return Ok(());
    }
    broker.register_keys(keys.clone()).await.map_err(|error| error.to_string())?;
    for key in keys {
        tracing::info!(id = %key.id, kind = key.class.as_str(), "a key is registered");
    }
    Ok(())
}

fn is_named(known: &RegisteredKey, key: &NewKey) -> bool {
    (known.class, &known.id) == (key.class, &key.id)
}

/// The public half of a pair on disk, made if it is not there.
fn public_half(data: &Path, id: &str) -> Result<String, String> {
    let directory = data.join("keys");
    let (private, public) = (pem_path(data, id), directory.join(format!("{id}.public.pem")));
    if private.exists() && public.exists() {
        return fs::read_to_string(&public).map_err(|error| error.to_string());
    }
    let pair = generate_key_pair().map_err(|error| error.to_string())?;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    let written = made
        .and_then(|()| write_private(&private, &pair.private_pem))
        .and_then(|()| write_private(&public, &pair.public_pem))
        .and_then(|()| File::open(&directory)?.sync_all());
    written.map_err(|error| error.to_string())?;
    Ok(pair.public_pem)
}

/// Under its name there is never half a key, whenever the process is killed.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut options = File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)
}

fn pem_path(data: &Path, id: &str) -> PathBuf {
    data.join("keys").join(format!("{id}.pem"))
}

/// Prints the token that was asked for.
pub(crate) fn print_token(token: &Token) -> Result<(), String> {
    let ((id, _), role) = match token.role {
        TokenRole::Administration => (ADMINISTRATION, Role::Administration),
        TokenRole::Client => (CLIENT, Role::Client),
    };
    let (private_pem, key_id) = match (&token.key, &token.kid, &token.data) {
        (Some(path), Some(kid), _) => {
            let read = fs::read_to_string(path);
            (read.map_err(|error| format!("`{}`: {error}", path.display()))?, kid.as_str())
        }
        (_, _, Some(data)) => (own_private_half(data, id)?, id),
        (_, _, None) => return Err("say --data, or --key and --kid".to_owned()),
    };
    let request = TokenRequest {
        role,
        instances: token.instances.iter().map(ToString::to_string).collect(),
        expires_in: token.expires,
        issuer: token.issuer.clone(),
        now: SystemClock::new().system(),
        key_id: key_id.to_owned(),
    };
    say(&sign(&private_pem, &request).map_err(|error| error.to_string())?)
}

/// The private half of the pair that the first start made, or what to do where there is none.
fn own_private_half(data: &Path, id: &str) -> Result<String, String> {
    let path = pem_path(data, id);
    fs::read_to_string(&path).map_err(|error| {
        let what_to_do = if !data.is_dir() {
            "there is no such data directory: `farebox serve` makes one, with its keys"
        } else if error.kind() != io::ErrorKind::NotFound {
            "only whoever serves the directory can read its keys"
        } else {
            "only the first start of a directory makes this pair, and only if it is given no key of \
             that kind: sign with --key FILE --kid ID, or restore the file from a copy if it was \
             there"
        };
        format!("`{}`: {error}; {what_to_do}", path.display())
    })
}
