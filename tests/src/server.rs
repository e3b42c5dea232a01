//! Application servers, started as `zerottl director` starts them: by the contract of docs/director/contract.md and nothing else.

use std::{
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use command_fds::{CommandFdExt as _, FdMapping};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, bind, listen, recvmsg, sendmsg, socket_with, socketpair, sockopt,
};
use xdp_ebpf::director::layout::ServerPage;
use zerottl_server::message::{self, ServerMessage};

use crate::{
    netns::Netns,
    process::Process,
    program::built,
    scratch::{find_tool, root},
};

/// The time that a read from a server may take: a Java program is compiled first.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The servers of `examples/servers/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppKind {
    /// `server.rs`.
    Rust,
    /// `server.py`.
    Python,
    /// `Server.java`, with one listener alone.
    Java,
}

impl AppKind {
    /// Returns the command of `[[director.server]]`.
    pub fn command(self) -> io::Result<Vec<String>> {
        let text = |path: PathBuf| path.into_os_string().into_string().map_err(|_| io::Error::other("no UTF-8"));
        let file = |name: &str| text(root().join("examples/servers").join(name));
        Ok(match self {
            Self::Rust => vec![text(built("app-server", "tests")?)?],
            Self::Python => vec![text(find_tool("python3")?)?, file("server.py")?],
            Self::Java => {
                find_tool("java")?;
                let script = format!("exec java {} 0<&3 3<&-", file("Server.java")?);
                vec!["/bin/sh".to_owned(), "-c".to_owned(), script]
            }
        })
    }
}

/// Descriptors that a server is given besides its listeners.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given {
    /// The socket for connections that are handed over.
    pub handover: bool,
    /// The page.
    pub page: bool,
}

/// A server process, and the director's ends of what it was given. Killed when dropped.
#[derive(Debug)]
pub struct AppServer {
    /// The process.
    pub process: Process,
    /// The listeners that were made for it, as the director keeps them.
    pub listeners: Vec<TcpListener>,
    handover: Option<OwnedFd>,
    page: Option<OwnedFd>,
}

/// Makes a listener of a group at this address, port 0 for any. Others of the group may be there already.
pub fn listener(machine: &Netns, address: SocketAddr) -> io::Result<TcpListener> {
    let make = move || -> io::Result<TcpListener> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &address)?;
        listen(&socket, 1024)?;
        Ok(socket.into())
    };
    machine.run(make)?
}

impl AppServer {
    /// Starts a server process: descriptors from 3 on, and the variables.
    pub fn start(
        machine: &Netns,
        name: &str,
        command: &[String],
        listeners: Vec<TcpListener>,
        given: Given,
        more: impl FnOnce(&mut Command),
    ) -> io::Result<Self> {
        let own_name = |listener: &TcpListener| Ok(format!("tcp-{}", listener.local_addr()?).replace(':', "_"));
        let mut names = listeners.iter().map(own_name).collect::<io::Result<Vec<String>>>()?;
        let copy = |listener: &TcpListener| listener.as_fd().try_clone_to_owned();
        let mut fds = listeners.iter().map(copy).collect::<io::Result<Vec<_>>>()?;
        let mut handover = None;
        if given.handover {
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            sockopt::set_socket_timeout(&ours, sockopt::Timeout::Recv, Some(PATIENCE))?;
            handover = Some(ours);
            names.push("zerottl-handover".to_owned());
            fds.push(theirs);
        }
        let page = given.page.then(page_map).transpose()?;
        if let Some(page) = &page {
            names.push("zerottl-page".to_owned());
            fds.push(page.try_clone()?);
        }
        // LISTEN_PID is the process's own, which nobody knows before it is there: a shell says it, and becomes the server.
        let mut start = Command::new("/bin/sh");
        start.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]).args(command).stdin(Stdio::null());
        start.env("LISTEN_FDS", fds.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
        start.env("ZEROTTL_SERVER", name).env_remove("NOTIFY_SOCKET");
        more(&mut start);
        let mapping = |(number, parent_fd): (i32, OwnedFd)| FdMapping { parent_fd, child_fd: number };
        start.fd_mappings((3..).zip(fds).map(mapping).collect()).map_err(io::Error::other)?;
        Ok(Self { process: Process::new(machine.spawn(start)?), listeners, handover, page })
    }

    fn handover(&self) -> io::Result<&OwnedFd> {
        self.handover.as_ref().ok_or_else(|| io::Error::other("started without hand-over"))
    }

    /// Hands a connection over.
    pub fn hand_over(&self, connection: &TcpStream, client: SocketAddr) -> io::Result<()> {
        self.send(&message::connection(client), Some(connection))
    }

    /// Sends a message, with a descriptor or without.
    pub fn send(&self, message: &[u8], with: Option<&TcpStream>) -> io::Result<()> {
        let fds: Vec<_> = with.into_iter().map(TcpStream::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&fds));
        }
        sendmsg(self.handover()?, &[IoSlice::new(message)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Receives the server's next message, and the connection that comes with it.
    pub fn hears(&self) -> io::Result<(ServerMessage, Option<TcpStream>)> {
        let mut bytes = [0; message::MESSAGE_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg(self.handover()?, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let fd = control.drain().find_map(|one| match one {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let said = ServerMessage::read(&bytes[..got.bytes]);
        let said = said.ok_or_else(|| io::Error::other(format!("no message: {:?}", &bytes[..got.bytes])))?;
        Ok((said, fd.map(TcpStream::from)))
    }

    /// Reads the page, as the kernel program does.
    pub fn page(&self) -> io::Result<ServerPage> {
        let map = self.page.as_ref().ok_or_else(|| io::Error::other("started without a page"))?;
        let (key, mut page) = (0_u32, ServerPage::default());
        let mut attributes = [0_u64; 4];
        attributes[0] = map.as_raw_fd().unsigned_abs().into();
        attributes[1] = std::ptr::from_ref(&key).addr() as u64;
        attributes[2] = std::ptr::from_mut(&mut page).addr() as u64;
        bpf(BPF_MAP_LOOKUP_ELEM, &attributes)?;
        Ok(page)
    }
}

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_F_MMAPABLE: u32 = 1 << 10;

fn bpf(command: libc::c_long, attributes: &[u64; 4]) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are of the length given, and the addresses in them are those of values that live through the
    // call and are as long as the map's keys and values.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size_of_val(attributes)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Makes the map of one page that a server maps.
fn page_map() -> io::Result<OwnedFd> {
    let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let value = size_of::<ServerPage>() as u32;
    let attributes = [pair(BPF_MAP_TYPE_ARRAY, 4), pair(value, 1), pair(BPF_F_MMAPABLE, 0), 0];
    let made = i32::try_from(bpf(BPF_MAP_CREATE, &attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// An application for a Site: answers each request with its head, for as long as this process runs.
pub fn application(machine: &Netns, at: SocketAddr) -> io::Result<()> {
    let listener = machine.run(move || TcpListener::bind(at))??;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                let (mut read, mut write) = (BufReader::new(stream.try_clone()?), stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if read.read_line(&mut head)? == 0 {
                            return Ok(());
                        }
                    }
                    let length = head.len();
                    write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{head}").as_bytes())?;
                }
            });
        }
    });
    Ok(())
}

/// A client's connection to a server.
#[derive(Debug)]
pub struct HttpClient(TcpStream);

impl HttpClient {
    /// Connects from inside `machine`.
    pub fn connect(machine: &Netns, to: SocketAddr) -> io::Result<Self> {
        let stream = machine.run(move || TcpStream::connect(to))??;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Its own address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Sends a request, and does not wait for its answer.
    pub fn ask(&mut self, path: &str) -> io::Result<()> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: boston.app.com\r\n\r\n").as_bytes())
    }

    /// Reads an answer's body.
    pub fn answer(&mut self) -> io::Result<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length = length.and_then(|length| length.parse().ok());
        let length: usize = length.ok_or_else(|| io::Error::other(format!("no Content-Length: {head}")))?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        String::from_utf8(body).map_err(io::Error::other)
    }

    /// Sends a request and reads its answer's body.
    pub fn get(&mut self, path: &str) -> io::Result<String> {
        self.ask(path)?;
        self.answer()
    }

    /// Whether the server has closed the connection, or does so in time.
    pub fn is_closed(&mut self) -> io::Result<bool> {
        Ok(self.0.read(&mut [0])? == 0)
    }
}
