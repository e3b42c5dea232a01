//! Load balance and failover on one machine and on two, and the claims they come from.

use domain::base::Rtype;
use tests::{
    agent::Agent,
    client::Client,
    config::{Config, SiteConfig},
    lab::{Lab, LabSpec, can_run, front_addresses, front_v4, front_v6},
    query::{ClientEdns, ClientQuestion},
    scene::HEALTH_PATIENCE,
};

/// Where a resolver finds who answers Pool and Group Names, and who answers Site Names.
struct Roles<'a> {
    lab: &'a Lab,
    agents: &'a [Agent],
    balance: usize,
    failover: usize,
}

impl Roles<'_> {
    fn client(&self, front: usize, v6: bool) -> Client {
        Client::new(&self.lab.client, None, front_addresses(front)[usize::from(v6)]).expect("client")
    }

    fn wait(&self, sites: &[(&str, bool)]) {
        for agent in self.agents {
            agent.wait_for(sites, HEALTH_PATIENCE).unwrap_or_else(|e| panic!("{e}"));
        }
    }

    fn kernel_answers(&self, front: usize) -> u64 {
        // One agent serves both roles where there is one front.
        self.agents[front].status().expect("status").kernel_answers()
    }
}

/// The suite both layouts pass; each step names the claim it carries out.
fn suite(roles: &Roles<'_>) {
    let sites = SiteConfig::appendix_a();
    let site_at = |address| {
        let site = sites.iter().find(|site| site.addresses.contains(&address));
        site.unwrap_or_else(|| panic!("{address} is no Site's"))
    };
    let site = |key: &str| sites.iter().find(|site| site.key == key).expect("a Site of Appendix A");
    let up = [("geneva", true), ("boston", true), ("chicago", true)];
    for v6 in [false, true] {
        roles.wait(&up);
        let (balance, failover) = (roles.client(roles.balance, v6), roles.client(roles.failover, v6));
        let (lb, fo) = (roles.kernel_answers(roles.balance), roles.kernel_answers(roles.failover));

        // S4-C1, S4-C16, S4-C31: an initial request gets the address of a Site selected by status; the subsequent request, for
        // the selected one, gets that one's address. S4-C3, S4-C18: the subsequent request bears a Site Name.
        // S4-C4, S4-C19: answered by the failover server. S4-C5, S4-C20: the initial one bears the Pool Name.
        // S4-C6, S4-C21: answered by the load balance server. S4-C9, S4-C10, S4-C24, S4-C25: or a Group Name.
        for (name, members) in [
            ("app.com", ["geneva", "boston", "chicago"].as_slice()),
            ("europe.app.com", &["geneva"]),
            ("americas.app.com", &["boston", "chicago"]),
        ] {
            for _ in 0..12 {
                let selected = site_at(balance.lookup(name, v6).expect("answer"));
                assert!(members.contains(&selected.key.as_str()), "{name}: {}", selected.key);
                let subsequent = failover.lookup(&selected.name, v6).expect("answer");
                assert_eq!(site_at(subsequent), selected, "{name}");
            }
        }
        let asked = 36;
        if roles.balance == roles.failover {
            assert_eq!(roles.kernel_answers(roles.balance) - lb, 2 * asked);
        } else {
            assert_eq!(roles.kernel_answers(roles.balance) - lb, asked, "initial requests reach one machine");
            assert_eq!(roles.kernel_answers(roles.failover) - fo, asked, "subsequent ones the other");
        }

        // S4-C2, S4-C17: the selected Site dies: the subsequent request gets a new one, selected by status; and no
        // initial request gets the dead one.
        roles.lab.site("boston").kill();
        roles.wait(&[("boston", false), ("chicago", true)]);
        assert_eq!(site_at(failover.lookup("boston.app.com", v6).expect("answer")).key, "chicago");
        for _ in 0..30 {
            assert_ne!(site_at(balance.lookup("app.com", v6).expect("answer")).key, "boston");
        }
        roles.lab.site("boston").restart().expect("restart");
        roles.wait(&up);
        assert_eq!(failover.lookup("boston.app.com", v6).expect("answer"), site("boston").address(v6).expect("both"));
    }
}

/// S4-4A, S4-C1, S4-C2, S4-C3, S4-C4, S4-C5, S4-C6, S4-C7, S4-C9, S4-C10, S4-C16, S4-C31, S4-C17, S4-C18, S4-C19, S4-C20,
/// S4-C21, S4-C22, S4-C24, S4-C25: Fig. 4A, both roles by one program on one machine.
#[test]
fn both_roles_on_one_machine() {
    if !can_run("S4-4A, S4-C1 to S4-C7, S4-C9, S4-C10: both roles on one machine") {
        return;
    }
    let lab = Lab::start(&LabSpec::default()).expect("lab");
    let agents = [Agent::start(&lab, 0, &Config::default()).unwrap_or_else(|e| panic!("{e}"))];
    suite(&Roles { lab: &lab, agents: &agents, balance: 0, failover: 0 });
}

/// Fig. 4B's two configurations: each names the other for the names it has no role for.
fn one_role_each() -> [Config; 2] {
    let records = |config: Config| Config {
        records: format!(
            "$TTL 300\nlb A {}\nlb AAAA {}\nfo A {}\nfo AAAA {}\n",
            front_v4(0),
            front_v6(0),
            front_v4(1),
            front_v6(1)
        ),
        ..config
    };
    let balance = records(Config {
        roles: vec!["load-balance".into()],
        zone: "failover_nameservers = [\"fo.app.com\"]".into(),
        ..Config::default()
    });
    let failover = records(Config {
        addresses: vec![front_v4(1).into(), front_v6(1).into()],
        roles: vec!["failover".into()],
        zone: "balance_nameservers = [\"lb.app.com\"]".into(),
        ..Config::default()
    });
    [balance, failover]
}

/// Both are files that the agent takes, warning of nothing.
#[test]
fn the_configurations_of_two_machines_are_valid() {
    for config in one_role_each() {
        config.check().unwrap_or_else(|e| panic!("{e}"));
    }
}

/// S4-4B, S4-C8, S4-C23 (and, through the same suite, S4-C1 to S4-C6, S4-C9, S4-C10 and their method forms): Fig. 4B,
/// each role on a machine of its own. Invariant 10: each refers the other's names to the other, never denying them.
#[test]
fn each_role_on_its_own_machine() {
    if !can_run("S4-4B, S4-C8, S4-C23: each role on its own machine") {
        return;
    }
    let lab = Lab::start(&LabSpec { fronts: 2, ..LabSpec::default() }).expect("lab");
    let [balance, failover] = one_role_each();
    let start = |number, config| Agent::start(&lab, number, config).unwrap_or_else(|e| panic!("{e}"));
    let agents = [start(0, &balance), start(1, &failover)];
    let roles = Roles { lab: &lab, agents: &agents, balance: 0, failover: 1 };
    suite(&roles);

    for v6 in [false, true] {
        let referred = |front, name: &str, server: &str| {
            for rtype in [Rtype::A, Rtype::AAAA, Rtype::HTTPS] {
                let question = ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL)).expect("a legal name");
                let answer = roles.client(front, v6).ask(&question).expect("answer");
                assert_eq!(answer.referral(), Ok(vec![server.to_owned()]), "{name} {rtype}");
            }
        };
        for name in ["geneva.app.com", "boston.app.com", "chicago.app.com"] {
            referred(0, name, "fo.app.com");
        }
        for name in ["europe.app.com", "americas.app.com"] {
            referred(1, name, "lb.app.com");
        }
    }
}
