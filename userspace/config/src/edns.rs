//! `[edns]` and `[chaos]`.

use std::{fs, io::Read, os::unix::fs::PermissionsExt, path::Path};

use toml::Spanned;
use xdp_ebpf::cookie::Secret;

use super::{raw, readers::readable, report::Reporter, values::Reader};
use zerottl_core::model::{Chaos, CookieSecrets, EdnsConfig, NSID_LEN_MAX};

/// Bytes of a TXT record's string, at most (RFC 1035 section 3.3).
const STRING_LEN_MAX: usize = 255;
/// Bytes of a secrets file, at most: two lines and room for comments.
const SECRETS_LEN_MAX: u64 = 1 << 16;
/// Secrets of a file, at most: the present one and the one before.
const SECRETS_MAX: usize = 2;
/// Hexadecimal digits of a secret: 128 bits (RFC 9018 section 4.4).
const SECRET_DIGITS: usize = 32;
/// Bytes of signed answers a second, at most: a tick of the meter's clock for two.
const SIGNED_BYTES_MAX: i64 = 1_000_000;
/// The bit that lets every user of the machine read a file.
const READ_BY_ALL: u32 = 0o004;

pub(super) fn edns(report: &mut Reporter, raw: Option<&Spanned<raw::Edns>>) -> EdnsConfig {
    let empty = raw::Edns::default();
    let (raw, header) = raw.map_or((&empty, 0..0), |raw| (raw.get_ref(), raw.span()));
    let mut reader = Reader { report, section: "[edns]".into(), header };
    let on = |switch: &raw::Switch| switch.as_ref().is_none_or(|on| *on.get_ref());
    let cookies = on(&raw.cookies);
    let mut secrets = None;
    if let Some(path) = &raw.cookie_secret_file {
        secrets = read_secrets(&mut reader, path);
        if !cookies {
            reader
                .warn(path.span(), "`cookie_secret_file` has no use while `cookies` is false")
                .help("take one of the two out");
        }
    }
    EdnsConfig {
        cookies: cookies.then(|| secrets.unwrap_or_else(random)),
        nsid: text(&mut reader, "nsid", &raw.nsid, NSID_LEN_MAX),
        client_subnet: on(&raw.client_subnet),
        signed_bytes: reader.number("signed_bytes", &raw.signed_bytes, 0..=SIGNED_BYTES_MAX, "bytes", 262_144),
    }
}

pub(super) fn chaos(report: &mut Reporter, raw: Option<&Spanned<raw::Chaos>>) -> Chaos {
    let Some(raw) = raw else { return Chaos::default() };
    let mut reader = Reader { report, section: "[chaos]".into(), header: raw.span() };
    let raw = raw.get_ref();
    Chaos {
        version: text(&mut reader, "version", &raw.version, STRING_LEN_MAX),
        id: text(&mut reader, "id", &raw.id, STRING_LEN_MAX),
    }
}

fn text(reader: &mut Reader<'_>, key: &str, value: &raw::Text, len_max: usize) -> Option<String> {
    let value = value.as_ref()?;
    let text = value.get_ref();
    if text.is_empty() || text.len() > len_max {
        reader
            .error(value.span(), format!("`{key}` has {} bytes", text.len()))
            .help(format!("give a text of 1 to {len_max} bytes, or take `{key}` out"));
    }
    Some(text.clone())
}

/// Makes secrets that nobody else knows, and no other server shares; their cookies end with the agent.
fn random() -> CookieSecrets {
    CookieSecrets { present: Secret([rand::random(), rand::random()]), previous: None, is_shared: false }
}

/// A text by which a secret is told from others, and which tells nothing of it: 16 hexadecimal digits, of SHA-256 over a label and it.
#[must_use]
pub fn secret_fingerprint(secret: &Secret) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(b"zerottl cookie secret\0");
    // As it stands in its file.
    secret.0.iter().for_each(|word| context.update(&word.to_le_bytes()));
    let digest = context.finish();
    let first: [u8; 8] = std::array::from_fn(|at| digest.as_ref()[at]);
    format!("{:016x}", u64::from_be_bytes(first))
}

/// The file's secrets; what is wrong with it is reported without ever showing a line of it.
fn read_secrets(reader: &mut Reader<'_>, path: &Spanned<String>) -> Option<CookieSecrets> {
    let full = readable(reader, "cookie_secret_file", path)?;
    let file = path.get_ref();
    match read(&full).and_then(|(text, mode)| Ok((parse(&text)?, mode))) {
        Ok((secrets, mode)) => {
            if mode & READ_BY_ALL != 0 {
                reader
                    .warn(path.span(), format!("every user of this machine can read `{file}`"))
                    .help(format!("`chmod o-r {}`; whoever knows the secrets can forge cookies", full.display()));
            }
            Some(secrets)
        }
        Err(fault) => {
            let line = fault.line.map(|line| format!(", line {line}")).unwrap_or_default();
            let problem = reader.error(path.span(), format!("`cookie_secret_file` `{file}`{line}: {}", fault.message));
            problem
                .help("one secret of 32 hexadecimal digits a line, at most two, as `openssl rand -hex 16` makes them");
            None
        }
    }
}

/// A fault of a secrets file.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    line: Option<usize>,
    message: String,
}

impl Fault {
    fn new(line: impl Into<Option<usize>>, message: impl Into<String>) -> Self {
        Self { line: line.into(), message: message.into() }
    }
}

fn read(path: &Path) -> Result<(String, u32), Fault> {
    let fault = |error: std::io::Error| Fault::new(None, error.to_string());
    let file = fs::File::open(path).map_err(fault)?;
    let mode = file.metadata().map_err(fault)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(SECRETS_LEN_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > SECRETS_LEN_MAX {
        return Err(Fault::new(None, format!("it is longer than {} KiB", SECRETS_LEN_MAX >> 10)));
    }
    let text = String::from_utf8(bytes).map_err(|_| Fault::new(None, "it is not UTF-8"))?;
    Ok((text, mode))
}

fn parse(text: &str) -> Result<CookieSecrets, Fault> {
    let mut secrets = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        let digits = written.split('#').next().unwrap_or_default().trim();
        if digits.is_empty() {
            continue;
        }
        if secrets.len() == SECRETS_MAX {
            return Err(Fault::new(line, format!("more than {SECRETS_MAX} secrets")));
        }
        // `from_str_radix` would take a sign.
        if digits.len() != SECRET_DIGITS || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            let what = format!("{} characters instead of {SECRET_DIGITS} hexadecimal digits", digits.chars().count());
            let same = digits.len() == SECRET_DIGITS;
            return Err(Fault::new(line, if same { "not only hexadecimal digits".to_owned() } else { what }));
        }
        let number = u128::from_str_radix(digits, 16).map_err(|_| Fault::new(line, "not a hexadecimal number"))?;
        secrets.push(Secret::new(number.to_be_bytes()));
    }
    let mut secrets = secrets.into_iter();
    let present = secrets.next().ok_or_else(|| Fault::new(None, "there is no secret in it"))?;
    Ok(CookieSecrets { present, previous: secrets.next(), is_shared: true })
}
