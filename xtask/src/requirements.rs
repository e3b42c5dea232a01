//! Requirements that each task has of the machine, and the pure decision of what to install.

use crate::ebpf::{self, Compiler, Origin, Survey};

/// A task of this repository, by what it needs installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Task {
    /// `cargo build` and `cargo xtask build`
    Build,
    /// `cargo xtask run`: the lab
    Run,
    /// `cargo xtask test`
    Test,
    /// `cargo xtask test --kernel`, but for what it downloads into `target/vm`
    Kernel,
    /// `cargo xtask fuzz`, beside cargo-fuzz itself
    Fuzz,
    /// `cargo xtask bench`
    Bench,
    /// `cargo xtask dist`
    Dist,
    /// `cargo xtask lint`
    Lint,
    /// All of them
    All,
}

/// How a package shows that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign<'a> {
    /// A program in `PATH` or in a directory for administrators.
    Program(&'a str),
    /// A file.
    File(&'a str),
}

/// A Debian package and what it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The package's name.
    pub package: String,
    /// Why it is needed, in a few words.
    pub why: String,
}

struct Tool {
    package: &'static str,
    sign: Sign<'static>,
    why: &'static str,
    tasks: &'static [Task],
}

const LAB: &[Task] = &[Task::Run, Task::Test, Task::Bench];
const PACKAGE: &[Task] = &[Task::Test, Task::Dist];
const LIBBPF: &[Task] = &[Task::Test, Task::Kernel, Task::Bench, Task::Lint];

/// Everything but the eBPF toolchain, for which see [`ebpf_plan`].
const TOOLS: &[Tool] = &[
    Tool { package: "iproute2", sign: Sign::Program("ip"), why: "network namespaces and veth pairs", tasks: LAB },
    Tool { package: "ethtool", sign: Sign::Program("ethtool"), why: "checksum offload on and off", tasks: LAB },
    Tool { package: "procps", sign: Sign::Program("ps"), why: "processes of the lab", tasks: LAB },
    Tool { package: "bind9-dnsutils", sign: Sign::Program("dig"), why: "dig, the DNS client", tasks: LAB },
    Tool { package: "dnsperf", sign: Sign::Program("dnsperf"), why: "DNS load from sockets", tasks: LAB },
    Tool { package: "curl", sign: Sign::Program("curl"), why: "HTTP client of the lab", tasks: LAB },
    Tool {
        package: "wrk",
        sign: Sign::Program("wrk"),
        why: "HTTP load, beside nginx",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool { package: "python3", sign: Sign::Program("python3"), why: "an application server of the lab", tasks: LAB },
    Tool { package: "nginx-light", sign: Sign::Program("nginx"), why: "the lab's Sites", tasks: LAB },
    Tool {
        package: "libnginx-mod-stream",
        sign: Sign::File("/usr/lib/nginx/modules/ngx_stream_module.so"),
        why: "nginx as a proxy of TCP, beside the distributor",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "util-linux",
        sign: Sign::Program("prlimit"),
        why: "limits of descriptors, idle scheduling, a file system that hangs",
        tasks: &[Task::Test],
    },
    Tool {
        package: "e2fsprogs",
        sign: Sign::Program("mkfs.ext4"),
        why: "a file system that hangs",
        tasks: &[Task::Test],
    },
    Tool { package: "caddy", sign: Sign::Program("caddy"), why: "asks the Site, in front", tasks: &[Task::Test] },
    Tool { package: "faketime", sign: Sign::Program("faketime"), why: "steps of the wall clock", tasks: &[Task::Test] },
    Tool {
        package: "unbound",
        sign: Sign::Program("unbound"),
        why: "a caching resolver between",
        tasks: &[Task::Test],
    },
    Tool {
        package: "bind9",
        sign: Sign::Program("named"),
        why: "another caching resolver, and what zones mean",
        tasks: &[Task::Test],
    },
    Tool {
        package: "pdns-recursor",
        sign: Sign::Program("pdns_recursor"),
        why: "a third caching resolver",
        tasks: &[Task::Test],
    },
    Tool {
        package: "python3-dnspython",
        sign: Sign::File("/usr/lib/python3/dist-packages/dns/__init__.py"),
        why: "a strict reader of answers",
        tasks: &[Task::Test],
    },
    Tool {
        package: "python3-grpcio",
        sign: Sign::File("/usr/lib/python3/dist-packages/grpc/__init__.py"),
        why: "a gRPC server that says whether it is well",
        tasks: &[Task::Test],
    },
    Tool {
        package: "python3-requests",
        sign: Sign::File("/usr/lib/python3/dist-packages/requests/__init__.py"),
        why: "an HTTP client that sends all before it reads",
        tasks: &[Task::Test],
    },
    Tool {
        package: "chromium",
        sign: Sign::Program("chromium"),
        why: "looks at pages, without a screen",
        tasks: &[Task::Test],
    },
    Tool {
        package: "prometheus",
        sign: Sign::Program("promtool"),
        why: "scrapes the metrics; promtool checks metrics and alerts",
        tasks: &[Task::Test],
    },
    Tool {
        package: "haproxy",
        sign: Sign::Program("haproxy"),
        why: "reads the same agent checks; a proxy of TCP, beside the distributor",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "knot",
        sign: Sign::Program("knotd"),
        why: "signed answers by AF_XDP, beside ours",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "knot-module-geoip",
        sign: Sign::File("/var/lib/dpkg/info/knot-module-geoip.list"),
        why: "Knot's answers of several addresses",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "gdnsd",
        sign: Sign::Program("gdnsd"),
        why: "answers by weight, beside ours",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "nsd",
        sign: Sign::Program("nsd"),
        why: "answers of a plain zone, beside ours",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "pdns-server",
        sign: Sign::Program("pdns_server"),
        why: "answers made by Lua, beside ours",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool {
        package: "pdns-backend-bind",
        sign: Sign::File("/var/lib/dpkg/info/pdns-backend-bind.list"),
        why: "zone files of pdns-server",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool { package: "redis-server", sign: Sign::Program("redis-server"), why: "keeps copies of sessions", tasks: LAB },
    Tool { package: "etcd-server", sign: Sign::Program("etcd"), why: "several fronts share their words", tasks: LAB },
    Tool { package: "bird2", sign: Sign::Program("bird"), why: "a front's route is withdrawn", tasks: &[Task::Test] },
    Tool {
        package: "dpkg-dev",
        sign: Sign::Program("dpkg-shlibdeps"),
        why: "libraries of the package",
        tasks: PACKAGE,
    },
    Tool { package: "binutils", sign: Sign::Program("strip"), why: "strips the package's binary", tasks: PACKAGE },
    Tool {
        package: "openjdk-17-jdk-headless",
        sign: Sign::Program("javac"),
        why: "an application server that is not in Rust",
        tasks: &[Task::Test],
    },
    Tool { package: "lintian", sign: Sign::Program("lintian"), why: "checks the package", tasks: &[Task::Test] },
    Tool { package: "systemd", sign: Sign::Program("systemd-analyze"), why: "checks the unit", tasks: &[Task::Test] },
    Tool {
        package: "valgrind",
        sign: Sign::Program("valgrind"),
        why: "counts instructions",
        tasks: &[Task::Test, Task::Bench],
    },
    Tool { package: "strace", sign: Sign::Program("strace"), why: "the service's system calls", tasks: &[Task::Test] },
    Tool { package: "g++", sign: Sign::Program("g++"), why: "builds libFuzzer, which is C++", tasks: &[Task::Fuzz] },
    Tool { package: "make", sign: Sign::Program("make"), why: "builds libbpf for the loader test", tasks: LIBBPF },
    Tool { package: "pkg-config", sign: Sign::Program("pkg-config"), why: "finds libbpf's libraries", tasks: LIBBPF },
    Tool { package: "libelf-dev", sign: Sign::File("/usr/include/libelf.h"), why: "libbpf reads ELF", tasks: LIBBPF },
    Tool { package: "zlib1g-dev", sign: Sign::File("/usr/include/zlib.h"), why: "libbpf needs zlib", tasks: LIBBPF },
    Tool {
        package: "knot-dnsutils",
        sign: Sign::Program("kxdpgun"),
        why: "DNS load from AF_XDP; kdig, another client",
        tasks: &[Task::Test, Task::Bench],
    },
];

/// The packages of daemons; installing one must neither start it now nor at the next boot.
pub const DAEMONS: &[(&str, &str)] = &[
    ("nginx-light", "nginx"),
    ("haproxy", "haproxy"),
    ("caddy", "caddy"),
    ("unbound", "unbound"),
    ("bind9", "named"),
    ("pdns-recursor", "pdns-recursor"),
    ("prometheus", "prometheus"),
    ("redis-server", "redis-server"),
    ("etcd-server", "etcd"),
    ("bird2", "bird"),
    ("knot", "knot"),
    ("gdnsd", "gdnsd"),
    ("nsd", "nsd"),
    ("pdns-server", "pdns"),
];

/// The tools that `task` needs and whose sign is not there.
pub fn missing_tools(task: Task, there: &dyn Fn(Sign<'_>) -> bool) -> Vec<Requirement> {
    let needed = |tool: &&Tool| task == Task::All || tool.tasks.contains(&task);
    let missing = TOOLS.iter().filter(needed).filter(|tool| !there(tool.sign));
    missing.map(|tool| requirement(tool.package, tool.why)).collect()
}

fn requirement(package: &str, why: &str) -> Requirement {
    Requirement { package: package.to_owned(), why: why.to_owned() }
}

/// The LLVM of Debian 12's `rustc-web` at the time of writing: a guess for the first round, so that one call of apt-get
/// installs everything. The next round looks at the compiler itself.
const DEBIAN_LLVM: u32 = 22;

/// The parts that the eBPF toolchain still lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EbpfPlan {
    /// Packages to install first.
    pub packages: Vec<Requirement>,
    /// The LLVM that `bpf-linker` is then to be built with, once the compiler is known.
    pub build_linker: Option<BuildLinker>,
}

/// How to build `bpf-linker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildLinker {
    /// The LLVM's major version.
    pub llvm: u32,
    /// Whether it goes to this workspace's own tools, because the user has another one that is not to be replaced.
    pub beside: bool,
}

/// Completes Debian's set for [`ebpf::choose`]; called when that finds nothing. Only Debian's set is ever completed:
/// what a rustup toolchain lacks is its owner's to add.
pub fn ebpf_plan(survey: &Survey, there: &dyn Fn(Sign<'_>) -> bool) -> EbpfPlan {
    let mut plan = EbpfPlan::default();
    let debian = survey.compilers.iter().find(|compiler| compiler.origin == Origin::Debian);
    let has = |part: fn(&Compiler) -> bool| debian.is_some_and(part);
    if debian.is_none() {
        plan.packages.push(requirement("rustc-web", "compiles the BPF programs"));
    }
    if !has(|compiler| compiler.cargo) {
        plan.packages.push(requirement("cargo-web", "builds core for the BPF target"));
    }
    if !has(|compiler| compiler.source) {
        plan.packages.push(requirement("rust-web-src", "core's source; the target has no prebuilt one"));
    }
    let llvm = debian.map_or(DEBIAN_LLVM, |compiler| compiler.llvm);
    if survey.linkers.iter().any(|linker| ebpf::fits(linker, llvm)) {
        return plan;
    }
    if !there(Sign::File(&format!("/usr/lib/llvm-{llvm}/include/llvm-c/Core.h"))) {
        plan.packages.push(requirement(&format!("llvm-{llvm}-dev"), "bpf-linker is built on the compiler's LLVM"));
    }
    if !there(Sign::Program("g++")) {
        plan.packages.push(requirement("g++", "links bpf-linker with LLVM, which is C++"));
    }
    plan.build_linker = debian.map(|_| BuildLinker { llvm, beside: !survey.linkers.is_empty() });
    plan
}

/// The packages that `apt-cache policy` knows no version of.
pub fn without_candidate<'a>(policy: &str, packages: &'a [Requirement]) -> Vec<&'a str> {
    let mut known = Vec::new();
    let mut current = "";
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|_| !line.starts_with(' ')) {
            current = name;
        } else if line.trim_start().strip_prefix("Candidate: ").is_some_and(|version| version != "(none)") {
            known.push(current);
        }
    }
    packages.iter().map(|requirement| requirement.package.as_str()).filter(|package| !known.contains(package)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::ebpf::Linker;

    fn names(requirements: &[Requirement]) -> Vec<&str> {
        requirements.iter().map(|requirement| requirement.package.as_str()).collect()
    }

    #[test]
    fn a_task_asks_for_its_own_tools_only() {
        let all_but = |absent: &'static str| move |sign: Sign<'_>| sign != Sign::Program(absent);
        assert_eq!(missing_tools(Task::Build, &|_| false), []);
        assert_eq!(missing_tools(Task::All, &|_| true), []);
        assert_eq!(names(&missing_tools(Task::Test, &all_but("dig"))), ["bind9-dnsutils"]);
        assert_eq!(missing_tools(Task::Run, &all_but("kxdpgun")), []);
        assert_eq!(names(&missing_tools(Task::Bench, &all_but("kxdpgun"))), ["knot-dnsutils"]);
        assert_eq!(names(&missing_tools(Task::Bench, &all_but("wrk"))), ["wrk"]);
        let lint = missing_tools(Task::Lint, &|_| false);
        assert_eq!(names(&lint), ["make", "pkg-config", "libelf-dev", "zlib1g-dev"]);
        // The table is built together with the loader test; what the virtual machine needs is not installed.
        assert_eq!(missing_tools(Task::Kernel, &|_| false), lint);
        assert_eq!(missing_tools(Task::All, &|_| false).len(), TOOLS.len());
    }

    #[test]
    fn daemons_are_among_the_tools() {
        let mut packages: Vec<_> = TOOLS.iter().map(|tool| tool.package).collect();
        packages.sort_unstable();
        assert!(packages.windows(2).all(|pair| pair[0] != pair[1]), "each once: {packages:?}");
        for (package, _) in DAEMONS {
            assert!(TOOLS.iter().any(|tool| tool.package == *package), "{package}");
        }
    }

    fn debian(llvm: u32) -> Compiler {
        Compiler { origin: Origin::Debian, bin: PathBuf::from("/usr/bin"), llvm, cargo: true, source: true }
    }

    fn linker(llvm: u32) -> Linker {
        Linker { path: PathBuf::from("bpf-linker"), llvm: Some(llvm) }
    }

    /// The packages and, after a bar, the linker to build.
    fn check(compilers: &[Compiler], linkers: &[Linker], there: &[Sign<'_>], expected: &str) {
        let survey = Survey { compilers: compilers.to_vec(), linkers: linkers.to_vec() };
        let plan = ebpf_plan(&survey, &|sign| there.contains(&sign));
        let linker = plan.build_linker.map_or(String::new(), |BuildLinker { llvm, beside }| {
            format!("{llvm}{}", if beside { " beside" } else { "" })
        });
        assert_eq!(format!("{}|{linker}", names(&plan.packages).join(" ")), expected);
    }

    #[test]
    fn the_ebpf_toolchain_is_completed_step_by_step() {
        let (gxx, core_h) = (Sign::Program("g++"), Sign::File("/usr/lib/llvm-22/include/llvm-c/Core.h"));
        // A bare machine: all packages at once; the linker waits until the compiler can be asked for its LLVM.
        check(&[], &[], &[], "rustc-web cargo-web rust-web-src llvm-22-dev g++|");
        check(&[debian(22)], &[], &[gxx, core_h], "|22");
        // The guess of the first round was wrong.
        check(&[debian(23)], &[], &[gxx, core_h], "llvm-23-dev|23");
        // Another linker stays where it is.
        check(&[debian(22)], &[linker(21)], &[gxx, core_h], "|22 beside");
        // One that fits needs no LLVM.
        let bare = Compiler { source: false, ..debian(22) };
        check(&[bare], &[linker(22)], &[], "rust-web-src|");
        // What a nightly lacks is not ours to add.
        let nightly = Compiler { origin: Origin::Nightly, source: false, ..debian(22) };
        check(&[nightly], &[linker(22)], &[], "rustc-web cargo-web rust-web-src|");
    }

    #[test]
    fn packages_without_a_candidate_are_told_apart() {
        let policy = "dnsperf:\n  Installed: (none)\n  Candidate: 2.10.0-2\n  Version table:\n     2.10.0-2 500\n\
                      virtual:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        let packages = [requirement("dnsperf", ""), requirement("virtual", ""), requirement("unheard-of", "")];
        assert_eq!(without_candidate(policy, &packages), ["virtual", "unheard-of"]);
    }
}
