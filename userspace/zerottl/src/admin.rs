//! The admin interface: what the agent knows, over HTTP, for operators, the command line and Prometheus.
//!
//! | path                          | what it is                                                        |
//! |-------------------------------|-------------------------------------------------------------------|
//! | `/`                           | the dashboard, one page of HTML                                   |
//! | `/metrics`                    | for Prometheus, names prefixed `zerottl_` (`metrics`)            |
//! | `/v1/status`                  | JSON: Sites, names, shares, ages, counters ([`status`])            |
//! | `/v1/explain?name=…&type=…&client=…` | JSON: what would be answered now, and why (`explain`, `answers`) |
//! | `/v1/fleet`                   | JSON: the fleet of fronts ([`fleet`])                             |
//! | `/v1/history`                 | JSON: the last ten minutes (`history`)                          |
//! | `/v1/sites/drained`           | JSON: how far a drain has come ([`overrides`])                    |
//! | `POST /v1/sites/word`, `POST /v1/sites/weight` | an override ([`overrides`])                      |
//! | `POST /v1/health`             | health stated from outside ([`health`])                           |
//! | `POST /v1/load`               | load reports from Sites ([`load`])                                |
//! | `POST /v1/reload`             | the file read again ([`reload`])                                  |
//! | `/v1/trace`                   | events as lines of JSON, until the client goes                    |
//! | `/v1/openapi.json`            | all of this, described (`openapi`)                              |
//!
//! Every page is a pure function of a `Snapshot`; `pages` takes one per request. `server` has the list of routes,
//! [`admin_access`](zerottl_core::admin_access) says who may ask, [`listen`] where.
//! [`agent_client`](zerottl_inputs::agent_client) is the command line's side.

mod answers;
pub mod cookie_secrets;
pub mod error_body;
mod explain;
pub mod explanation;
mod extract;
pub mod fleet;
mod forwards;
mod handler_state;
pub mod health;
mod history;
mod hooks;
pub mod listen;
pub mod load;
mod metrics;
pub mod notices;
mod openapi;
pub mod overrides;
pub mod overview;
mod pages;
pub mod reload;
pub(crate) mod server;
pub mod signatures;
pub(crate) mod sources;
pub mod status;
pub mod text;

#[cfg(test)]
mod tests;
