//! `plantwin authority serve`: an authority for gateways elsewhere.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use plantwin_authority::service::{AuthorityPort as _, Server};

use super::{
    super::console,
    args::ServeArgs,
    desk::{self, failure},
};
use crate::{
    exit::{Code, Failure, OrExit as _},
    logging,
};

/// How often it is looked whether it shall end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often it is told what an operator should know, while it stays so.
const WARN_EVERY: Duration = Duration::from_hours(24);

pub(super) fn serve(args: &ServeArgs) -> Result<Code, Failure> {
    let stop = console::stop_flag().or_exit(Code::Unavailable)?;
    logging::install(args.log, &logging::Target::Stderr).or_exit(Code::Unavailable)?;
    let folder = desk::open(&args.data, &args.key)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("authority")
        .enable_all()
        .build()
        .or_exit(Code::Unavailable)?;
    let authority = folder.authority.clone();
    runtime.block_on(async {
        let server = Server::start(authority.clone(), args.listen).await.map_err(failure)?;
        say!("serving authority on {}", server.local_addr());
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut warn = tokio::time::interval(WARN_EVERY);
        while !stop.load(Relaxed) {
            tokio::select! {
                _ = warn.tick() => {
                    let health = authority.health();
                    for warning in health.warnings.into_iter().chain(health.advice) {
                        tracing::warn!("{warning}");
                    }
                }
                _ = look.tick() => {}
            }
        }
        drop(server);
        Ok::<(), Failure>(())
    })?;
    // Whatever it still does is done before the folder closes.
    runtime.shutdown_timeout(Duration::from_secs(5));
    drop(authority);
    drop(folder);
    Ok(Code::Ok)
}
