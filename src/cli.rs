//! The command line: what can be said to the program, and which part of it answers.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Parser, Subcommand, ValueEnum};
use farebox::config::{Idempotency, Sessions};
use farebox::domain::ids::{CorrelationId, InstanceId};
use farebox::domain::refusal::Refusal;
use farebox::explain::explain_directory;
use farebox::http::explanation_json;
use farebox::verify::{VerifyError, verify};

use crate::{demo, export, keys, runtime};

/// An access broker: rate tables, line items and sessions, charged in tokens, exactly and durably.
#[derive(Debug, Parser)]
#[command(name = "farebox", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the API over HTTP until SIGTERM or SIGINT.
    ///
    /// A new directory gets everything it needs, an administration and a client key pair among it
    /// (DIR/keys). One line on stdout says when the server is ready; logs go to stderr.
    Serve(Serve),
    /// Prints a signed token for the API, and nothing else.
    Token(Token),
    /// Shows the main job: the tutorial's 44 tokens over HTTP, a session, kill -9, and that the
    /// charge survives.
    Demo(Demo),
    /// Checks a data directory that no broker is using: checksums, chain, sums, snapshots.
    Verify(Verify),
    /// Writes usage rows to stdout: one per item and line item charged or refunded, and per denied
    /// item.
    ///
    /// Reads the journal and nothing else, also beside a broker that is running. The same journal
    /// always gives the same rows. To go on later, pass the sequence of the last row as --after.
    Usage(Usage),
    /// Says why a request was granted or denied, from the journal alone, also beside a running broker.
    ///
    /// The correlation id stands in the answer to every request, and in the usage data. Automatic
    /// charges, closes and sessions that end by themselves have one too.
    Explain(Explain),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, env = "FAREBOX_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The data directory; made if it does not exist.
    #[arg(long, env = "FAREBOX_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The `iss` that every token must have; without it any is accepted.
    #[arg(long, env = "FAREBOX_ISSUER", value_name = "S")]
    pub(crate) issuer: Option<String>,
    /// Registers an administration key, unless one of that id is registered; may be repeated.
    ///
    /// FILE has its public half in PEM. A new directory that is given one makes no pair of its own.
    /// An id that was deleted comes back with the next start, as long as it is named here. If
    /// another key is registered under the id, that one stays, and the log says so: only
    /// `PUT /administration-keys` replaces a key.
    #[arg(long = "administration-key", value_name = "ID=FILE", value_parser = key_file)]
    pub(crate) administration_keys: Vec<KeyFile>,
    /// The same for a client key.
    #[arg(long = "client-key", value_name = "ID=FILE", value_parser = key_file)]
    pub(crate) client_keys: Vec<KeyFile>,
    /// Time stands still until `POST /test/clock` moves it: hours of sessions in milliseconds.
    ///
    /// A directory that was served so is never served otherwise.
    ///
    /// In the environment `1`, `true` or `yes`; `0`, `false`, `no` or nothing is as if it were not
    /// there.
    #[arg(long, env = "FAREBOX_TEST_CLOCK", value_parser = FalseyValueParser::new(), hide_env_values = true)]
    pub(crate) test_clock: bool,
    /// How long a request can be repeated under its Idempotency-Key: a number and s, m, h or d.
    #[arg(
        long,
        env = "FAREBOX_IDEMPOTENCY_KEEP",
        default_value = "24h",
        value_parser = duration,
        value_name = "TIME"
    )]
    pub(crate) idempotency_keep: Duration,
    /// How many Idempotency-Keys are kept at most, at some 200 bytes of memory each: keys a second
    /// times seconds kept.
    #[arg(
        long,
        env = "FAREBOX_IDEMPOTENCY_KEYS",
        default_value = "1000000",
        value_parser = limit,
        value_name = "NUMBER"
    )]
    pub(crate) idempotency_keys: usize,
    /// How many of them one instance may have: 250000, or all if there are fewer, unless said.
    #[arg(
        long,
        env = "FAREBOX_IDEMPOTENCY_KEYS_PER_INSTANCE",
        value_parser = limit,
        value_name = "NUMBER"
    )]
    idempotency_keys_per_instance: Option<usize>,
    /// How many sessions may be live at once, at about 1 KB of memory each.
    #[arg(
        long,
        env = "FAREBOX_SESSIONS",
        default_value = "1000000",
        value_parser = limit,
        value_name = "NUMBER"
    )]
    pub(crate) sessions: usize,
    /// How many of them may be of one instance: 100000, or all if there are fewer, unless said.
    #[arg(
        long,
        env = "FAREBOX_SESSIONS_PER_INSTANCE",
        value_parser = limit,
        value_name = "NUMBER"
    )]
    sessions_per_instance: Option<usize>,
}

impl Serve {
    /// How many idempotency keys one instance may have.
    pub(crate) fn idempotency_keys_per_instance(&self) -> Result<usize, String> {
        let usual = Idempotency::default().keys_max_per_instance;
        let said = self.idempotency_keys_per_instance;
        share("--idempotency-keys", self.idempotency_keys, said, usual)
    }

    /// How many live sessions one instance may have.
    pub(crate) fn sessions_per_instance(&self) -> Result<usize, String> {
        let usual = Sessions::default().per_instance_max;
        share("--sessions", self.sessions, self.sessions_per_instance, usual)
    }
}

/// An instance's share of what there is in all.
fn share(flag: &str, all: usize, said: Option<usize>, usual: usize) -> Result<usize, String> {
    match said {
        Some(said) if said > all => Err(format!(
            "{flag}-per-instance {said} is more than {flag} {all}, which is for all instances: raise \
             that one, or lower this one"
        )),
        Some(said) => Ok(said),
        None => Ok(usual.min(all)),
    }
}

/// A public key that is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyFile {
    /// What tokens call it.
    pub(crate) id: String,
    /// Where it is.
    pub(crate) path: PathBuf,
}

/// Whose token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenRole {
    /// May do everything.
    Administration,
    /// May use the instances it names.
    Client,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Token {
    /// The data directory whose first key signs, unless --key names another.
    #[arg(long, env = "FAREBOX_DATA", value_name = "DIR", required_unless_present = "key")]
    pub(crate) data: Option<PathBuf>,
    /// A private key that signs, in PEM (PKCS#8): one that was registered later.
    #[arg(long, value_name = "FILE", requires = "kid")]
    pub(crate) key: Option<PathBuf>,
    /// The id that its public half is registered by.
    #[arg(long, value_name = "ID", requires = "key")]
    pub(crate) kid: Option<String>,
    /// Whose token.
    #[arg(long)]
    pub(crate) role: TokenRole,
    /// An instance that a client's token is for; may be repeated.
    #[arg(
        long = "instance",
        value_name = "ID",
        value_parser = instance,
        required_if_eq("role", "client")
    )]
    pub(crate) instances: Vec<InstanceId>,
    /// How long the token holds: a number and s, m, h or d.
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "TIME")]
    pub(crate) expires: Duration,
    /// The token's `iss`.
    #[arg(long, env = "FAREBOX_ISSUER", default_value = "farebox", value_name = "S")]
    pub(crate) issuer: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// Leaves the server running afterwards and says how to call it.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The data directory.
    #[arg(long, env = "FAREBOX_DATA", value_name = "DIR")]
    data: PathBuf,
}

/// How usage rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageFormat {
    /// Comma-separated values with a line of names. Text that a spreadsheet would run as a formula
    /// begins with an apostrophe.
    Csv,
    /// A line of JSON for each row.
    Ndjson,
}

impl From<UsageFormat> for farebox::usage::Format {
    fn from(format: UsageFormat) -> farebox::usage::Format {
        match format {
            UsageFormat::Csv => farebox::usage::Format::Csv,
            UsageFormat::Ndjson => farebox::usage::Format::Ndjson,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// The data directory.
    #[arg(long, env = "FAREBOX_DATA", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// How the rows are written.
    #[arg(long)]
    pub(crate) format: UsageFormat,
    /// Only rows of records after this one.
    #[arg(long, default_value_t = 0, value_name = "SEQUENCE")]
    pub(crate) after: u64,
}

/// How an explanation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For a person.
    Text,
    /// As `GET /decisions/{correlationId}` answers under v1.1.
    Json,
}

#[derive(Debug, clap::Args)]
struct Explain {
    /// The data directory.
    #[arg(long, env = "FAREBOX_DATA", value_name = "DIR")]
    data: PathBuf,
    /// The correlation id of a decision.
    #[arg(value_name = "CORRELATION_ID")]
    correlation: String,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What a command ends with.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Exit status 0.
    Fine,
    /// Exit status 1: it ran, and found something wrong.
    Wrong(String),
}

/// Parses the arguments, runs the command and says with what status to exit.
pub(crate) fn run() -> ExitCode {
    let ending = match Arguments::parse().command {
        Command::Serve(serve) => runtime::serve(serve),
        Command::Token(token) => keys::print_token(&token).map(|()| Ending::Fine),
        Command::Demo(demo) => demo::run(&demo),
        Command::Usage(usage) => export::run(&usage),
        Command::Verify(Verify { data }) => match verify(&data) {
            Ok(report) => say(&report.to_string()).map(|()| Ending::Fine),
            Err(VerifyError::Wrong(wrong)) => Ok(Ending::Wrong(wrong)),
            Err(error) => Err(error.to_string()),
        },
        Command::Explain(arguments) => explain(&arguments),
    };
    let (sentence, status) = match ending {
        Ok(Ending::Fine) => return ExitCode::SUCCESS,
        Ok(Ending::Wrong(wrong)) => (wrong, 1),
        Err(could_not) => (could_not, 2),
    };
    let _ = writeln!(io::stderr(), "farebox: {sentence}"); // The status says it to everybody.
    ExitCode::from(status)
}

fn explain(Explain { data, correlation, format }: &Explain) -> Result<Ending, String> {
    let unknown = || Ending::Wrong(format!("`{correlation}`: {}", Refusal::UnknownDecision));
    let explained = match CorrelationId::parse(correlation) {
        Some(id) => explain_directory(data, id).map_err(|error| error.to_string())?,
        None => None,
    };
    let Some(explanation) = explained else { return Ok(unknown()) };
    let text = match format {
        Format::Text => explanation.to_string().trim_end().to_owned(),
        Format::Json => String::from_utf8_lossy(&explanation_json(&explanation)).into_owned(),
    };
    say(&text).map(|()| Ending::Fine)
}

/// Prints to stdout. `println!` would panic where its reader has gone.
pub(crate) fn say(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    let said = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    said.map_err(|error| format!("stdout cannot be written: {error}"))
}

/// Reads `ID=FILE`.
fn key_file(text: &str) -> Result<KeyFile, String> {
    match text.split_once('=') {
        Some((id, path)) if !id.is_empty() && !path.is_empty() => {
            Ok(KeyFile { id: id.to_owned(), path: PathBuf::from(path) })
        }
        Some(_) | None => Err("say ID=FILE, such as `ops-2=ops-2.public.pem`".to_owned()),
    }
}

/// Reads how many there may be.
fn limit(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "say a whole number from 1, such as `100000`".to_owned())
}

/// Reads the id of an instance: another spelling would name nothing (spec 2.2).
fn instance(text: &str) -> Result<InstanceId, String> {
    InstanceId::parse(text).ok_or_else(|| {
        "an instance's id is a UUID in lower case: `GET /instances` lists them".to_owned()
    })
}

/// The longest that a token may hold: ten years.
const EXPIRES_SECONDS_MAX: u64 = 3650 * 86_400;

/// Reads `90s`, `15m`, `1h`, `30d`.
fn duration(text: &str) -> Result<Duration, String> {
    let unit = text.chars().last().unwrap_or(' ');
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err("end it with s, m, h or d, such as `90s` or `1h`".to_owned()),
    };
    let number = text.strip_suffix(unit).unwrap_or("").parse::<u64>();
    let number = number.map_err(|_| "begin it with a whole number, such as `90s`".to_owned())?;
    match number.checked_mul(seconds) {
        Some(seconds @ 1..=EXPIRES_SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
        Some(_) | None => Err("must be from 1s to 3650d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("30d"), Ok(Duration::from_secs(2_592_000)));
        for text in ["", "h", "1", "-1h", "1.5h", "0s", "1y", "3651d", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_lets_something_in_and_an_instances_share_fits_the_whole() {
        let parse = |line: &str| {
            let line = format!("farebox serve --data d {line}");
            let arguments = Arguments::try_parse_from(line.trim().split(' '));
            let Command::Serve(serve) = arguments.map_err(|error| error.to_string())?.command
            else {
                return Err(format!("it is no `serve`: {line}"));
            };
            Ok((serve.idempotency_keys_per_instance()?, serve.sessions_per_instance()?))
        };
        for (line, expected) in [
            ("", Ok((250_000, 100_000))),
            ("--idempotency-keys 5 --sessions 7", Ok((5, 7))),
            ("--idempotency-keys-per-instance 9 --sessions-per-instance 8", Ok((9, 8))),
            ("--idempotency-keys 5 --idempotency-keys-per-instance 5", Ok((5, 100_000))),
            (
                "--idempotency-keys 5 --idempotency-keys-per-instance 6",
                Err("--idempotency-keys-per-instance 6 is more than --idempotency-keys 5"),
            ),
            (
                "--sessions 5 --sessions-per-instance 6",
                Err("--sessions-per-instance 6 is more than --sessions 5"),
            ),
            ("--idempotency-keys abc", Err("say a whole number from 1, such as `100000`")),
            ("--idempotency-keys 0", Err("say a whole number from 1")),
            ("--idempotency-keys-per-instance 0", Err("say a whole number from 1")),
            ("--sessions 0", Err("say a whole number from 1")),
            ("--sessions-per-instance=-1", Err("say a whole number from 1")),
        ] {
            let found: Result<(usize, usize), String> = parse(line);
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{line}"),
                (Err(said), Err(words)) => assert!(said.contains(words), "{line}: {said}"),
                (Ok(_), Err(_)) | (Err(_), Ok(_)) => panic!("{line}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_key_has_an_id_and_a_file() {
        let expected = KeyFile { id: "ops".to_owned(), path: PathBuf::from("a=b.pem") };
        assert_eq!(key_file("ops=a=b.pem"), Ok(expected));
        for text in ["", "ops", "=ops.pem", "ops="] {
            assert!(key_file(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_token_names_an_instance() {
        let parse = |line: &str| Arguments::try_parse_from(line.split(' '));
        assert!(parse("farebox token --data d --role client").is_err());
        let id = "0f2d1a30-5f2b-4d43-8e6a-27d0f3f4c111";
        assert!(parse(&format!("farebox token --data d --role client --instance {id}")).is_ok());
        for other in ["notauuid", "", &id.to_uppercase(), &id.replace('-', "")] {
            let refused =
                parse(&format!("farebox token --data d --role client --instance {other}"));
            let said = refused.map(|_| ()).expect_err("it names nothing").to_string();
            assert!(said.contains("a UUID in lower case"), "{said}");
        }
        assert!(parse("farebox token --data d --role administration").is_ok());
    }

    #[test]
    fn a_token_is_signed_by_the_directorys_key_or_by_one_with_its_id() {
        let parse = |line: &str| {
            let line = format!("farebox token --role administration {line}");
            Arguments::try_parse_from(line.trim().split(' ')).is_ok()
        };
        for (line, fine) in [
            ("--data d", true),
            ("--key f --kid k", true),
            ("--data d --key f --kid k", true),
            ("--key f", false),
            ("--data d --kid k", false),
            ("--kid k", false),
        ] {
            assert_eq!(parse(line), fine, "{line}");
        }
    }
}
