mod commands;
mod dead;
mod durable;
mod latest;
mod merging;
mod paths;
mod receipts;
mod wire;
