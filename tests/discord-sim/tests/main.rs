//! The simulator, tried by real clients over real sockets.

mod support;

mod accounts;
mod attachments;
mod cdn;
mod channels;
mod chat;
mod faults;
mod fixtures;
mod gateway;
mod gateway_faults;
mod interactions;
mod invoking;
mod messages;
mod payloads;
mod rest;
mod roles;
mod sessions;
mod terminal;
mod transport;
