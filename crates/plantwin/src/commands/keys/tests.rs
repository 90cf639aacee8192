//! Where keys come from, and with which code a wrong one ends the program.

use std::{fs, path::PathBuf};

use clap::Parser as _;
use plantwin_store::SledStore;
use tempfile::TempDir;

use super::*;
use crate::cli::{Cli, Command, KeysCommand};

fn asked(words: &[&str]) -> Command {
    Cli::try_parse_from(["plantwin"].iter().chain(words)).unwrap().command
}

/// Carries `keys rewrap DIR ...` out.
fn rewrapped(dir: &TempDir, words: &[&str]) -> Result<Code, Failure> {
    let path = dir.path().display().to_string();
    match asked(&[&["keys", "rewrap", &path], words].concat()) {
        Command::Keys(KeysCommand::Rewrap(args)) => rewrap(&args),
        other => panic!("{other:?}"),
    }
}

fn private(dir: &TempDir, name: &str, text: &str) -> String {
    let path = dir.path().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn a_key_is_wrapped_by_a_passphrase_then_by_a_file_then_by_nothing() {
    let [dir, keys] = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    drop(SledStore::open(dir.path()).unwrap());
    let pass = private(&keys, "pass", "correct horse\n");
    let file = keys.path().join("key").display().to_string();
    let done = |words: &[&str]| assert_eq!(rewrapped(&dir, words).unwrap(), Code::Ok);
    done(&["--to-passphrase", "--new-passphrase-file", &pass]);
    let info = key_info(dir.path()).unwrap();
    assert!(matches!(info.wrapping, Wrapping::Passphrase(_)), "{info:?}");
    done(&["--passphrase-file", &pass, "--to-file", &file]);
    assert_eq!(key_info(dir.path()).unwrap().wrapping, Wrapping::File);

    let wrong = private(&keys, "wrong", &"x".repeat(40));
    let refused = rewrapped(&dir, &["--key-file", &wrong, "--to-plain"]).unwrap_err();
    let text = refused.error.to_string();
    assert_eq!(refused.code, Code::Auth, "{text}");
    assert!(text.contains("is not the one that it is wrapped by") && text.contains("--key-file"));
    let refused = rewrapped(&dir, &["--to-plain"]).unwrap_err();
    assert_eq!(refused.code, Code::Auth, "no key at all");
    assert_eq!(key_info(dir.path()).unwrap().wrapping, Wrapping::File, "nothing was changed");

    done(&["--key-file", &file, "--to-plain"]);
    assert_eq!(key_info(dir.path()).unwrap().id, info.id, "the data key stayed");
    drop(SledStore::open(dir.path()).unwrap());
}

#[test]
fn one_way_to_wrap_a_key_must_be_named_and_one_only() {
    let refused = |words: &[&str]| {
        let words = ["plantwin", "keys", "rewrap", "dir"].iter().chain(words);
        Cli::try_parse_from(words).unwrap_err().to_string()
    };
    assert!(refused(&[]).contains("--to-passphrase"));
    assert!(refused(&["--to-plain", "--to-file", "x"]).contains("cannot be used with"));
    assert!(refused(&["--to-plain", "--new-passphrase-file", "x"]).contains("cannot be used with"));
    assert!(refused(&["--to-plain", "--key-file", "x", "--keyring", "y"]).contains("cannot"));
}

#[test]
fn a_passphrase_file_must_be_the_owners_alone_and_hold_one_line() {
    let keys = TempDir::new().unwrap();
    let read = |text: &str| read_passphrase(&PathBuf::from(private(&keys, "pass", text)));
    for text in ["correct horse", "correct horse\n", "correct horse\r\n"] {
        assert_eq!(*read(text).unwrap(), "correct horse");
    }
    assert_eq!(*read(" spaces stay \n").unwrap(), " spaces stay ");
    for text in ["", "\n", "two\nlines\n"] {
        assert_eq!(read(text).unwrap_err().code, Code::Usage, "{text:?}");
    }
    let path = keys.path().join("pass");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let refused = read_passphrase(&path).unwrap_err();
    assert_eq!(refused.code, Code::Auth);
    assert!(refused.error.to_string().contains("chmod 600"));
    assert_eq!(read_passphrase(&keys.path().join("none")).unwrap_err().code, Code::Unavailable);
}
