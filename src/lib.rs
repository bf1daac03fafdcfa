//! bedgate: a gateway in front of Amazon Bedrock. The modules stand in the order a request meets them;
//! imports point only down this list.
#![forbid(unsafe_code)]
#![doc = include_str!("ARCHITECTURE.md")]

pub mod cli;

pub mod startup;

pub mod http;

pub mod operation;

pub mod auth;

pub mod limits;

pub mod route;

pub mod sign;

pub mod upstream;

pub mod http1;

pub mod duplex;

pub mod meter;

pub mod ledger;

pub mod journal;

pub mod store;

pub mod pricing;

pub mod usage;

pub mod event;

pub mod metrics;

pub mod telemetry;

pub mod error;

pub mod config;

pub mod domain;

pub mod priority;

pub mod timers;

pub mod simulator;
