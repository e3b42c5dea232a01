//! The distributor: makes the listening sockets of a Site, runs its application servers, and hands each of them its
//! connections; the kernel chooses.
//!
//! | module | what it is |
//! |---|---|
//! | [`keeper`] | the small parent that outlives the worker and holds its descriptors |
//! | [`spawn`] | an application server as a process: start, end, signals |
//! | [`listeners`] | listening sockets, one for each address and process |
//! | [`pages`] | bodies of the HTTP interface |
//! | [`cgroups`] | a group of processes for the kernel's count, and one for each server's memory |

#![forbid(unsafe_code)]

pub mod cgroups;
pub mod keeper;
pub mod listeners;
pub mod pages;
pub mod spawn;
