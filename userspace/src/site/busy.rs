//! Whether the Site is too busy for one more session (stage 550).
