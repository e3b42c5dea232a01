//! The network-namespace lab and the clients that check zerottl end to end.
//!
//! A [`Lab`](lab::Lab) is a front end, a client and Sites, each in a network namespace without a name: the namespaces
//! live as long as the process that made them, so nothing is left behind even by SIGKILL. An [`Agent`](agent::Agent) is
//! the real `zerottl` binary in the front's namespace. A [`Client`](client::Client) asks one question at a time; a
//! [`checker`] asks at a steady rate and checks every answer.
//!
//! | module | what it is |
//! |---|---|
//! | [`netns`] | a network namespace with a thread that lives in it |
//! | [`pass`] | what makes a veth's client end read what XDP sends it |
//! | [`process`] | child processes that never outlive their lab |
//! | [`scratch`] | temporary folders, swept when their maker died without cleaning |
//! | [`server`] | application servers, started by the director's contract |
//! | [`invite`] | workers that application servers invite |
//! | [`kernel`] | the packet program in the kernel's test run |
//! | [`lab`] | the topology |
//! | [`site`] | a Site's HTTP servers |
//! | [`target`] | what a probe asks, well or not |
//! | [`turn`] | which tests have the machine to themselves |
//! | [`walk`] | HTTP clients that are redirected |
//! | [`config`] | the configuration given to the agent |
//! | [`director`] | a director, its servers, and a client |
//! | [`director_lab`] | the same as a lab, with lines to paste |
//! | [`addresses`] | addresses of the lab's machines |
//! | [`agent`] | the agent and what it reports |
//! | [`bind`] | zones signed and served by BIND |
//! | [`bird`] | announced routes |
//! | [`browser`] | Chromium, without a screen |
//! | [`redis`] | session servers |
//! | [`receiver`] | a receiver of hooks |
//! | [`relay`] | a port of loopback that leads into a namespace |
//! | [`resolver`] | caching resolvers |
//! | [`validator`] | the same, validating |
//! | [`many`] | many Sites |
//! | [`mmdb`] | databases of countries |
//! | [`scene`] | a lab with an agent in it |
//! | [`program`] | where the workspace's programs are, and their start |
//! | [`query`] | building a query, judging an answer |
//! | [`client`] | one question at a time |
//! | [`cart_lab`] | a shop whose carts are in sessions, for people and a browser |
//! | [`checker`] | many questions, every answer checked |
//! | [`raw_frames`] | frames as they are, right or not |
//! | [`kernel_log`] | what the kernel says when it is not well |
//! | [`usage`] | the memory and descriptors of a process |
//! | [`under_load`] | something done while many questions are asked |
//! | [`chaos`] | what is kept while things go wrong, each with its figure |
//! | [`outputs`] | docs/outputs.md |
//! | [`losses`] | what the machine itself has dropped |
//! | [`session_lab`] | workers that host sessions, session servers and a client, each a machine |
//! | [`session_chaos`] | sessions under load |
//! | [`session_history`] | requests for a session, and whether they could have been so |
//! | [`shares`] | cycles and chi-square |
//! | [`load_sim`] | a simulation of Sites whose load follows the answers |
//! | [`appendix_b`] | seed 004's pseudo code as printed, the oracle of operation 500 |
//! | [`site_world`] | small pools for the model check of operation 500, and where their names lead |
//! | [`etcd`] | what several fronts share their words by |
//! | [`fleet`] | several fronts of one configuration, and etcd |
//! | [`fuzz`] | what parses bytes from outside, given any bytes |

pub mod addresses;
pub mod agent;
pub mod appendix_b;
pub mod bind;
pub mod bird;
pub mod browser;
pub mod cart_lab;
pub mod chaos;
pub mod checker;
pub mod client;
pub mod config;
pub mod director;
pub mod director_lab;
pub mod etcd;
pub mod fleet;
pub mod fuzz;
pub mod invite;
pub mod kernel;
pub mod kernel_log;
pub mod lab;
pub mod load_sim;
pub mod losses;
pub mod many;
pub mod mmdb;
pub mod netns;
pub mod outputs;
pub mod pass;
pub mod process;
pub mod program;
pub mod query;
pub mod raw_frames;
pub mod receiver;
pub mod redis;
pub mod relay;
pub mod resolver;
pub mod scene;
pub mod scratch;
pub mod server;
pub mod session_chaos;
pub mod session_history;
pub mod session_lab;
pub mod shares;
pub mod site;
pub mod site_world;
pub mod target;
pub mod turn;
pub mod under_load;
pub mod usage;
pub mod validator;
pub mod walk;
