//! The distributor: makes the listening sockets of a Site, runs its application servers, and hands each of them its
//! connections; the kernel chooses.
