//! The Site in the lab: `zerottl site` or the layer before an application, with browsers, curl and other proxies.

mod binding;
mod browser;
mod busy;
mod check;
mod director;
mod director_attacked;
mod director_chapter;
mod director_deaths;
mod director_lab;
mod director_orphans;
mod director_process;
mod director_sites;
mod groups;
mod layer;
mod log;
mod processes;
mod restart;
mod servers;
mod session_cart;
mod session_chaos;
mod session_director;
mod session_journal;
mod session_layer;
mod session_store;
mod upload;
mod web;
