//! Where a Site stands among the others.
