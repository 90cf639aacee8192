//! `plantwin new`: a commented plant file to start from.

use std::{fs::OpenOptions, io::Write as _};

use plantwin_model::file::starter_plant;

use crate::{
    cli::NewArgs,
    exit::{Code, Failure, OrExit},
};

pub(crate) fn new(args: &NewArgs) -> Result<Code, Failure> {
    let text = starter_plant(&args.name).or_exit(Code::Usage)?;
    if args.stdout {
        print!("{text}");
        return Ok(Code::Ok);
    }
    let file = format!("{}.toml", args.name);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .and_then(|mut f| f.write_all(text.as_bytes()))
        .map_err(|e| Code::Unavailable.failure(format!("cannot write {file}: {e}")))?;
    say!("wrote {file}; next: plantwin check {file}, then plantwin run {file}");
    Ok(Code::Ok)
}
