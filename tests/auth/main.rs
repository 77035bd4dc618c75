//! What a token must be to be believed: every case of table C of the promises that is about the
//! token itself, with tokens that are really forged. C1 and C2 are the edge's.

mod cache;
mod claims;
mod forge;
mod form;
mod keys;
mod roles;
mod signatures;
