//! `[admin]`.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use toml::Spanned;

use super::{
    raw,
    readers::{again, readable},
    report::{Once, Reporter},
    values::{Fault, Reader},
};
use zerottl_core::model::{Admin, AdminListen, AdminListenError, AdminToken, TOKEN_LEN};

/// Places to listen on, at most.
const LISTEN_MAX: usize = 8;
/// Bytes of a Unix socket's path, at most (Linux, `sun_path` less its last zero).
pub(super) const SOCKET_LEN_MAX: usize = 107;
/// Bytes of a token file, at most: the longest token and white space around it.
const FILE_LEN_MAX: u64 = 1024;
/// The bit that lets every user of the machine read a file.
const READ_BY_ALL: u32 = 0o004;

pub(super) fn admin(report: &mut Reporter, raw: Option<&Spanned<raw::Admin>>) -> Admin {
    let Some(raw) = raw else { return Admin::default() };
    let mut reader = Reader { report, section: "[admin]".into(), header: raw.span() };
    let raw = raw.get_ref();
    let token = raw.token_file.as_ref().and_then(|path| token(&mut reader, path));
    Admin { listen: listen(&mut reader, raw), token }
}

fn listen(reader: &mut Reader<'_>, raw: &raw::Admin) -> Vec<AdminListen> {
    let Some(written) = &raw.listen else { return Vec::new() };
    let single;
    let texts = match written.get_ref() {
        raw::OneOrMore::One(text) => {
            single = [Spanned::new(written.span(), text.clone())];
            &single[..]
        }
        raw::OneOrMore::More(texts) => &texts[..],
    };
    if texts.is_empty() {
        reader.error(written.span(), "`listen` is empty").label("no entries").help("name at least one");
    }
    let mut once = Once::new();
    let mut listen = Vec::new();
    for text in texts {
        let Some(place) = reader.parsed(text, place) else { continue };
        if !place.is_local() && raw.token_file.is_none() {
            let message = format!("`{place}` can be reached from other machines, and there is no `token_file`");
            reader
                .error(text.span(), message)
                .help("give a token_file, as `openssl rand -hex 32` makes it, or listen on loopback or a Unix socket");
        }
        if let Some(first) = once.see(place.clone(), text.span()) {
            again(reader, text.span(), first, &format!("`{place}`"));
            continue;
        }
        listen.push(place);
        if listen.len() == LISTEN_MAX + 1 {
            reader
                .error(text.span(), format!("more than {LISTEN_MAX} places to listen on"))
                .label("one too many")
                .help("name fewer");
        }
    }
    listen
}

fn place(text: &str) -> Result<AdminListen, Fault> {
    let help = "give both, such as \"127.0.0.1:8053\" or \"[::1]:8053\", or a socket, such as \
                \"unix:/run/zerottl/admin.sock\"";
    let place: AdminListen = text.parse().map_err(|error: AdminListenError| Fault::new(error.to_string(), help))?;
    match &place {
        AdminListen::Unix(path) if path.as_os_str().len() > SOCKET_LEN_MAX => Err(Fault {
            message: format!("the socket's path has {} bytes", path.as_os_str().len()),
            help: format!("Linux takes at most {SOCKET_LEN_MAX}"),
        }),
        _ => Ok(place),
    }
}

/// The file's token; what is wrong with it is reported without showing any of it.
fn token(reader: &mut Reader<'_>, path: &Spanned<String>) -> Option<AdminToken> {
    let full = readable(reader, "token_file", path)?;
    let file = path.get_ref();
    match read(&full) {
        Ok((token, mode)) => {
            if mode & READ_BY_ALL != 0 {
                reader.warn(path.span(), format!("every user of this machine can read `{file}`")).help(format!(
                    "`chmod o-r {}`; whoever knows the token may do all an operator may",
                    full.display()
                ));
            }
            Some(token)
        }
        Err(why) => {
            let help = format!(
                "one word of {} to {} printable ASCII characters, as `openssl rand -hex 32` makes it",
                TOKEN_LEN.start(),
                TOKEN_LEN.end()
            );
            reader.error(path.span(), format!("`token_file` `{file}`: {why}")).help(help);
            None
        }
    }
}

/// The reason why a file gives no token.
#[derive(Debug, thiserror::Error)]
enum TokenFileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Text(&'static str),
}

fn read(path: &Path) -> Result<(AdminToken, u32), TokenFileError> {
    let file = fs::File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    file.take(FILE_LEN_MAX).read_to_string(&mut text)?;
    Ok((AdminToken::new(&text).map_err(TokenFileError::Text)?, mode))
}
