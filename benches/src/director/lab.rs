//! Two namespaces joined by a veth: all ways to the same servers in one, clients in the other.

use std::{
    fmt::Write as _,
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use ::tests::{
    director::DirectorScene,
    netns::Netns,
    process::{Process, eventually},
    scratch,
};
use rustix::{process::Pid, thread::sched_setaffinity};

use super::{client::SERVERS, paths::ConnectionPath};
use crate::{error::BenchError, process_time, rate};

/// Until a listener takes connections after its start.
const START: Duration = Duration::from_secs(20);
/// The first of the ports at which the servers of the proxies listen.
const BACKENDS: u16 = 9001;
/// nginx's module for TCP.
const STREAM_MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

/// The lab; it ends with this.
pub(super) struct DirectorLab {
    scene: DirectorScene,
    direct: Process,
    hashing: Vec<Process>,
    backends: Vec<Process>,
    haproxy: Process,
    nginx: Process,
    /// Of `director`: the keeper, the worker, the servers.
    director: Vec<u32>,
    /// The threads that receive packets on the servers' machine, and on the clients'.
    receivers: [u32; 2],
    _folder: Box<dyn std::any::Any>,
}

impl DirectorLab {
    /// Starts everything; `server` is the program of the servers.
    pub(super) fn new(server: &Path) -> Result<Self, BenchError> {
        let folder = scratch::folder()?;
        let command = format!(
            "policy = \"weighted-round-robin\"\n[[director.server]]\nname = \"app\"\ncount = {SERVERS}\ncommand = [{:?}]\n",
            server.display().to_string()
        );
        let mut scene = DirectorScene::new(&command)?;
        for machine in [&scene.machine, &scene.client] {
            machine.sysctl("net/ipv6/conf/eth0/disable_ipv6", "1")?;
        }
        let receivers = [(&scene.machine, 1), (&scene.client, 0)].map(|(machine, number)| {
            // Whatever is started in a namespace inherits the CPU of its thread.
            machine.run(move || sched_setaffinity(None, &rate::cpu(number)))??;
            // A veth receives by NAPI what was sent without TSO, where GRO is on. IPv6 has packets of its own to send, and nothing
            // may arrive meanwhile.
            machine.read("ethtool", &["-K", "eth0", "gro", "on", "tso", "off"])?;
            let threads = rate::thread_napi(machine, "eth0", number)?;
            let [thread] = threads[..] else { return Err("eth0 has more than one queue".into()) };
            Ok::<u32, BenchError>(thread.as_raw_pid().unsigned_abs())
        });
        let [receiver, other] = receivers;
        let receivers = [receiver?, other?];
        for (machine, address) in [(&scene.machine, "fd07::1/64"), (&scene.client, "fd07::2/64")] {
            machine.sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")?;
            machine.ip(&format!("address add {address} dev eth0 nodad"))?;
        }
        // A port that was used a moment ago may be used again; the servers close first, so that it is seldom so.
        scene.client.sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
        scene.machine.sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
        scene.machine.sysctl("net/core/somaxconn", "4096")?;

        let start = |number: usize, at: SocketAddr| -> io::Result<Process> {
            let mut command = Command::new(server);
            command.args([number.to_string(), at.to_string()]);
            command.stdin(Stdio::null()).stdout(Stdio::null());
            Ok(Process::new(scene.machine.spawn(command)?))
        };
        let numbers = 1..=SERVERS;
        let direct = start(1, ConnectionPath::Direct.at())?;
        let hashing =
            numbers.clone().map(|number| start(number, ConnectionPath::Hashing.at())).collect::<Result<_, _>>()?;
        let backends = numbers.map(|number| start(number, backend(number))).collect::<Result<_, _>>()?;
        let haproxy = haproxy(&scene.machine, folder.path())?;
        let nginx = nginx(&scene.machine, folder.path())?;
        scene.start()?;
        let mut director = vec![scene.keeper().id(), raw(scene.worker()?)];
        for number in 1..=SERVERS {
            director.push(raw(scene.pid(&format!("app-{number}"))?));
        }
        let lab =
            Self { scene, direct, hashing, backends, haproxy, nginx, director, receivers, _folder: Box::new(folder) };
        lab.wait()?;
        Ok(lab)
    }

    /// The clients' machine.
    pub(super) fn client(&self) -> &Netns {
        &self.scene.client
    }

    /// Waits until all listen.
    fn wait(&self) -> Result<(), BenchError> {
        let backends = (1..=SERVERS).map(|number| (&*self.scene.machine, backend(number)));
        let all = ConnectionPath::ALL.map(|path| (&*self.scene.client, path.at()));
        for (machine, at) in all.into_iter().chain(backends) {
            let connects = || machine.run(move || TcpStream::connect(at)).is_ok_and(|connected| connected.is_ok());
            if !eventually(START, connects) {
                return Err(format!("nothing listens at {at} after {START:?}").into());
            }
        }
        Ok(())
    }

    /// CPU time that the servers' machine has spent for a way so far, seconds: its servers, what is between, and the
    /// thread that receives packets, in which the kernel chooses a listener.
    pub(super) fn servers_cpu_s(&self, path: ConnectionPath) -> Result<f64, BenchError> {
        let ids = |processes: &[Process]| processes.iter().map(Process::id).collect::<Vec<_>>();
        let mut pids = match path {
            ConnectionPath::Direct => vec![self.direct.id()],
            ConnectionPath::Hashing => ids(&self.hashing),
            ConnectionPath::Director => self.director.clone(),
            ConnectionPath::HaProxy | ConnectionPath::Nginx => ids(&self.backends),
        };
        match path {
            ConnectionPath::HaProxy => pids.push(self.haproxy.id()),
            ConnectionPath::Nginx => pids.push(self.nginx.id()),
            _ => {}
        }
        pids.push(self.receivers[0]);
        pids.into_iter().map(process_time::cpu_s).sum()
    }

    /// CPU time of the thread that receives packets on the clients' machine so far, seconds.
    pub(super) fn receiver_cpu_s(&self) -> Result<f64, BenchError> {
        process_time::cpu_s(self.receivers[1])
    }
}

fn raw(pid: Pid) -> u32 {
    pid.as_raw_pid().unsigned_abs()
}

fn backend(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], BACKENDS + number as u16 - 1))
}

fn haproxy(machine: &Netns, folder: &Path) -> Result<Process, BenchError> {
    let mut text = format!(
        "global\n  nbthread 1\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  \
         timeout server 60s\nlisten bench\n  bind {}\n  balance roundrobin\n",
        ConnectionPath::HaProxy.at()
    );
    for number in 1..=SERVERS {
        // Writing into a String does not fail.
        let _ = writeln!(text, "  server app-{number} {}", backend(number));
    }
    let file = folder.join("haproxy.cfg");
    fs::write(&file, text)?;
    // In the foreground, one process.
    let mut command = Command::new(scratch::find_tool("haproxy")?);
    command.arg("-db").arg("-f").arg(&file);
    silent(machine, command)
}

fn nginx(machine: &Netns, folder: &Path) -> Result<Process, BenchError> {
    let file: PathBuf = folder.join("nginx.conf");
    let mut text = format!(
        "load_module {STREAM_MODULE};\ndaemon off;\nmaster_process off;\npid pid;\n\
         events {{ worker_connections 4096; }}\nstream {{\nupstream servers {{\n"
    );
    for number in 1..=SERVERS {
        let _ = writeln!(text, "server {};", backend(number));
    }
    let _ =
        writeln!(text, "}}\nserver {{ listen {} backlog=4096; proxy_pass servers; }}\n}}", ConnectionPath::Nginx.at());
    fs::write(&file, text)?;
    if !Path::new(STREAM_MODULE).is_file() {
        return Err(format!("{STREAM_MODULE} is not there: run `cargo xtask setup`").into());
    }
    let mut command = Command::new(scratch::find_tool("nginx")?);
    command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
    silent(machine, command)
}

fn silent(machine: &Netns, mut command: Command) -> Result<Process, BenchError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(Process::new(machine.spawn(command)?))
}
