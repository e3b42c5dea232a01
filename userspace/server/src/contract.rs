//! Descriptors and variables that a process begins with.

use std::{
    env::{self, VarError},
    io,
    net::TcpListener,
    os::fd::{OwnedFd, RawFd},
    process,
};

use rustix::{
    io::Errno,
    net::{SocketType, sockopt},
};

use crate::{handover::Handover, page::LoopPage, raw};

/// The name of the descriptor by which connections are handed over.
pub const HANDOVER: &str = "zerottl-handover";
/// The name of the descriptor of the page.
pub const PAGE: &str = "zerottl-page";

/// The number of the first descriptor (`sd_listen_fds`).
const FIRST: RawFd = 3;
/// Descriptors, at most: sixteen addresses and two more are what a director gives.
const DESCRIPTORS_MAX: RawFd = 128;

/// Descriptors and a name that this process was given at its start.
///
/// The same comes from a socket unit of systemd, which gives neither `server`, nor hand-over, nor page.
#[derive(Debug)]
pub struct Contract {
    /// The name of this process, such as `app-1` (`ZEROTTL_SERVER`); none if nobody said.
    pub server: Option<String>,
    /// The sockets that listen, in the order of `listen` of `[director]`; at least one. They are this process's alone: each
    /// connection in their queues was chosen for it.
    pub listeners: Vec<NamedListener>,
    /// The socket by which connections are handed over (`handover = true`).
    pub handover: Option<Handover>,
    /// The page where this process says that it lives (`hang_after`).
    pub page: Option<LoopPage>,
    /// Other descriptors, by name.
    pub others: Vec<(String, OwnedFd)>,
}

/// A socket that listens.
#[derive(Debug)]
pub struct NamedListener {
    /// Its name: of the director `tcp-` and the address, with `_` for `:`.
    pub name: String,
    /// The socket. It blocks.
    pub listener: TcpListener,
}

/// Something was handed over that cannot be taken, and why.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// A variable is no text.
    #[error("{0} is not UTF-8")]
    NotText(&'static str),
    /// `LISTEN_FDS` is no number, or none up to 128.
    #[error("LISTEN_FDS is `{0}`: a number up to {DESCRIPTORS_MAX} is expected")]
    Count(String),
    /// `LISTEN_FDNAMES` does not fit `LISTEN_FDS`.
    #[error("LISTEN_FDNAMES has {names} names for {count} descriptors")]
    Names {
        /// Names that there are.
        names: usize,
        /// Descriptors that `LISTEN_FDS` promises.
        count: usize,
    },
    /// A descriptor is not open.
    #[error("descriptor {0} is not open: LISTEN_FDS promises it")]
    Closed(RawFd),
    /// They were taken before.
    #[error("the descriptors of this process are taken already")]
    Taken,
    /// A descriptor is not what its name says.
    #[error("the descriptor `{name}`: {source}")]
    Unfit {
        /// Its name.
        name: String,
        /// The fault.
        source: io::Error,
    },
    /// No socket listens.
    #[error("none of the descriptors is a TCP socket that listens")]
    NoListener,
}

/// The variables, as they are or as a test has them.
struct Variables<'a> {
    pid: Option<&'a str>,
    fds: Option<&'a str>,
    names: Option<&'a str>,
}

impl Contract {
    /// Takes what was handed to this process. `None` is nothing: it was started by hand and makes its own listener.
    ///
    /// The variables stay, since to change the environment is not safe while others may read it; children are not meant by
    /// them (`LISTEN_PID`), and inherit no descriptor.
    pub fn from_env() -> Result<Option<Self>, ContractError> {
        let read = |name| match env::var(name) {
            Ok(text) => Ok(Some(text)),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => Err(ContractError::NotText(name)),
        };
        let (pid, fds, names) = (read("LISTEN_PID")?, read("LISTEN_FDS")?, read("LISTEN_FDNAMES")?);
        let variables = Variables { pid: pid.as_deref(), fds: fds.as_deref(), names: names.as_deref() };
        let Some(names) = variables.names_for(process::id())? else { return Ok(None) };
        let fds = raw::take((FIRST..).take(names.len())).ok_or(ContractError::Taken)?.map_err(ContractError::Closed)?;
        Self::of(read("ZEROTTL_SERVER")?, names.into_iter().zip(fds)).map(Some)
    }

    fn of(server: Option<String>, descriptors: impl Iterator<Item = (String, OwnedFd)>) -> Result<Self, ContractError> {
        let mut contract = Self { server, listeners: Vec::new(), handover: None, page: None, others: Vec::new() };
        for (name, fd) in descriptors {
            match name.as_str() {
                HANDOVER => {
                    let kind = sockopt::socket_type(&fd).map_err(io::Error::from);
                    contract.handover = match kind {
                        Ok(SocketType::SEQPACKET) => Some(Handover::new(fd)),
                        Ok(_) => return Err(unfit(name, io::Error::other("no SOCK_SEQPACKET"))),
                        Err(source) => return Err(unfit(name, source)),
                    };
                }
                PAGE => contract.page = Some(LoopPage::new(&fd).map_err(|source| unfit(name, source))?),
                _ if is_listener(&fd) => {
                    let listener = TcpListener::from(fd);
                    // Whoever made it may have it otherwise, for itself.
                    listener.set_nonblocking(false).map_err(|source| unfit(name.clone(), source))?;
                    contract.listeners.push(NamedListener { name, listener });
                }
                _ => contract.others.push((name, fd)),
            }
        }
        if contract.listeners.is_empty() { Err(ContractError::NoListener) } else { Ok(contract) }
    }
}

impl Variables<'_> {
    /// Returns the names of the descriptors of the process `own`, if the variables mean it.
    fn names_for(&self, own: u32) -> Result<Option<Vec<String>>, ContractError> {
        let (Some(pid), Some(fds)) = (self.pid, self.fds) else { return Ok(None) };
        if pid.parse() != Ok(own) {
            return Ok(None);
        }
        let count = fds.parse().ok().filter(|count| (0..=DESCRIPTORS_MAX).contains(count));
        let count = count.ok_or_else(|| ContractError::Count(fds.to_owned()))?.unsigned_abs() as usize;
        if count == 0 {
            return Ok(None);
        }
        let names: Vec<String> = match self.names {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            // As systemd calls them.
            None => vec!["unknown".to_owned(); count],
        };
        if names.len() != count {
            return Err(ContractError::Names { names: names.len(), count });
        }
        Ok(Some(names))
    }
}

fn unfit(name: String, source: io::Error) -> ContractError {
    ContractError::Unfit { name, source }
}

/// Whether it is a TCP socket that listens.
fn is_listener(fd: &OwnedFd) -> bool {
    let internet = || match sockopt::socket_domain(fd) {
        Ok(family) => [rustix::net::AddressFamily::INET, rustix::net::AddressFamily::INET6].contains(&family),
        Err(Errno::NOTSOCK | _) => false,
    };
    internet() && sockopt::socket_type(fd) == Ok(SocketType::STREAM) && sockopt::socket_acceptconn(fd) == Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use rustix::net::{AddressFamily, SocketFlags, socketpair};

    use super::*;

    #[test]
    fn variables_are_read_as_systemd_reads_them() {
        let check = |pid: Option<&str>, fds: Option<&str>, names: Option<&str>, expected: Result<&[&str], &str>| {
            let read = Variables { pid, fds, names }.names_for(70);
            let read = read.map(Option::unwrap_or_default).map_err(|error| error.to_string());
            let expected = expected.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
            assert_eq!(read, expected.map_err(str::to_owned), "{pid:?} {fds:?} {names:?}");
        };
        check(Some("70"), Some("2"), Some("a:b"), Ok(&["a", "b"]));
        check(Some("70"), Some("2"), None, Ok(&["unknown", "unknown"]));
        check(Some("71"), Some("2"), Some("a:b"), Ok(&[]));
        check(None, Some("2"), Some("a:b"), Ok(&[]));
        check(Some("70"), None, None, Ok(&[]));
        check(Some("x"), Some("x"), None, Ok(&[]));
        check(Some("70"), Some("0"), Some(""), Ok(&[]));
        check(Some("70"), Some("2"), Some("a"), Err("LISTEN_FDNAMES has 1 names for 2 descriptors"));
        for bad in ["", "-1", "129", "x", "99999999999999999999"] {
            let message = format!("LISTEN_FDS is `{bad}`: a number up to 128 is expected");
            check(Some("70"), Some(bad), None, Err(&message));
        }
    }

    fn seqpacket() -> OwnedFd {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap().0
    }

    fn listening() -> OwnedFd {
        TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn of(descriptors: Vec<(&str, OwnedFd)>) -> Result<Contract, ContractError> {
        Contract::of(Some("app-1".to_owned()), descriptors.into_iter().map(|(name, fd)| (name.to_owned(), fd)))
    }

    #[test]
    fn each_descriptor_is_what_its_name_says() {
        let page = tempfile::tempfile().unwrap();
        page.set_len(4096).unwrap();
        let log = tempfile::tempfile().unwrap();
        let contract = of(vec![
            ("tcp-127.0.0.1_80", listening()),
            ("tcp-127.0.0.1_443", listening()),
            (HANDOVER, seqpacket()),
            (PAGE, page.into()),
            ("log", log.into()),
        ]);
        let contract = contract.unwrap();
        let names: Vec<_> = contract.listeners.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["tcp-127.0.0.1_80", "tcp-127.0.0.1_443"]);
        assert!(contract.handover.is_some() && contract.page.is_some());
        assert_eq!(contract.others.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["log"]);
        assert_eq!(contract.server.as_deref(), Some("app-1"));
    }

    #[test]
    fn what_does_not_fit_its_name_is_told() {
        let check = |descriptors, expected: &str| {
            let error = of(descriptors).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        };
        let datagram = || OwnedFd::from(UnixDatagram::unbound().unwrap());
        check(vec![], "none of the descriptors");
        check(vec![("tcp-127.0.0.1_80", datagram())], "none of the descriptors");
        check(vec![("a", listening()), (HANDOVER, datagram())], "the descriptor `zerottl-handover`: no SOCK_SEQPACKET");
        let file = OwnedFd::from(tempfile::tempfile().unwrap());
        check(vec![("a", listening()), (PAGE, file)], "the descriptor `zerottl-page`: shorter than a page");
        check(vec![("a", listening()), (PAGE, datagram())], "the descriptor `zerottl-page`");
    }
}
