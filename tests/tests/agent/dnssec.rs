//! Signed answers, to validating resolvers: unbound, BIND's named and the recursor of `PowerDNS`, and to BIND's verifiers.

mod bundle;
mod dead;
mod harness;
mod negative;
mod parent;
mod positive;
mod roll;
mod scene;
mod statics;
mod told;
mod trap;
mod unsigned;
mod zone;
