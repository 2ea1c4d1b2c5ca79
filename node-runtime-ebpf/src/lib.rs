//! The kernel programs as bytes, and the layouts and limits that both sides share.
