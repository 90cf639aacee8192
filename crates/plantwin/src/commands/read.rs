//! Reading and checking a plant: every command that takes one comes through here.

use std::{collections::HashSet, fs, io::Read as _, path::Path};

use plantwin_energy::Profile;
use plantwin_model::{
    DeviceId, Diagnostic, PlantSpec, Severity,
    file::{Catalog, FILE_LIMIT, ReadOptions, Simulate, Sources, read_plant},
};

use crate::{
    cli::ReadArgs,
    exit::{Code, Failure},
    library::Types,
    protocols,
};

/// A plant that was read, with all its problems.
pub(crate) struct Read {
    /// The plant, if it has no error.
    pub(crate) plant: Option<PlantSpec>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) sources: Sources,
}

impl Read {
    pub(crate) fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }
}

/// Reads a file from disk.
pub(crate) fn from_file(path: &Path, args: &ReadArgs) -> Result<Read, Failure> {
    let name = path.display();
    let problem = |error: std::io::Error| {
        let hint = if error.kind() == std::io::ErrorKind::NotFound {
            "; `plantwin demo --list` shows the shipped plants, `plantwin new NAME` writes one"
        } else {
            ""
        };
        Code::Config.failure(format!("cannot read the plant file {name}: {error}{hint}"))
    };
    let mut bytes = Vec::new();
    // One byte more than allowed is enough for the reader to see that it is too much.
    fs::File::open(path)
        .and_then(|f| f.take(FILE_LIMIT as u64 + 1).read_to_end(&mut bytes))
        .map_err(problem)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => from_text(&name.to_string(), text, Some(path), args),
        Err(error) => {
            let at = error.valid_up_to();
            let before = &bytes[..at];
            let line = before.split(|b| *b == b'\n').count();
            let column = at - before.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1) + 1;
            let diagnostic = Diagnostic {
                severity: Severity::Error,
                code: "not-utf8",
                file: name.to_string().into(),
                line: line as u32,
                column: column as u32,
                span: (at..at + 1).into(),
                message: format!("byte {at} is not UTF-8 text"),
                help: Some("save the file as UTF-8; is it a plant file at all?".to_owned()),
            };
            let sources = Sources::default();
            Ok(Read { plant: None, diagnostics: vec![diagnostic], sources })
        }
    }
}

/// Reads a text.
pub(crate) fn from_text(
    file: &str,
    text: &str,
    path: Option<&Path>,
    args: &ReadArgs,
) -> Result<Read, Failure> {
    let registry = protocols::registry();
    let schemas = registry.schemas();
    let types = Types::for_plant(path, args.twins.as_deref());
    let profiles: Vec<&str> = Profile::names().collect();
    let catalog = Catalog { protocols: &schemas, types: &types, energy_profiles: &profiles };
    let options = ReadOptions {
        variant: args.variant.clone(),
        simulate: simulate(args.simulate.as_deref())?,
        step: None,
    };
    let mut checked = read_plant(file, text, &catalog, &options);
    let problems = match &checked.plant {
        Some(plant) => plantwin_physics::check(plant),
        None => checked.types.iter().flat_map(|t| plantwin_physics::check_type(t)).collect(),
    };
    let mut seen = HashSet::new();
    for p in problems {
        let diagnostic =
            checked.sources.diagnostic(&p.file, p.span, p.severity, p.code, p.message, p.help);
        if seen.insert((diagnostic.file.clone(), diagnostic.span.start, diagnostic.message.clone()))
        {
            checked.diagnostics.push(diagnostic);
        }
    }
    if checked.diagnostics.iter().any(|d| d.severity == Severity::Error) {
        checked.plant = None;
    }
    if let (Some(plant), Some(seed)) = (&mut checked.plant, args.seed) {
        plant.seed = seed;
    }
    unknown_simulated(&checked.diagnostics, &options.simulate)?;
    Ok(Read { plant: checked.plant, diagnostics: checked.diagnostics, sources: checked.sources })
}

fn simulate(text: Option<&str>) -> Result<Simulate, Failure> {
    Ok(match text {
        None => Simulate::AsWritten,
        Some("all") => Simulate::All,
        Some("none") => Simulate::None,
        Some(ids) => {
            let ids: Vec<DeviceId> = ids
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(DeviceId::from)
                .collect();
            if ids.is_empty() {
                return Err(Code::Usage.failure("--simulate takes all, none, or device ids"));
            }
            Simulate::Only(ids)
        }
    })
}

/// An unknown id in `--simulate` is a mistake of the call, not of the file. The reader finds it,
/// even where the file has errors of its own.
fn unknown_simulated(diagnostics: &[Diagnostic], simulate: &Simulate) -> Result<(), Failure> {
    if !matches!(simulate, Simulate::Only(_)) {
        return Ok(());
    }
    // By its words: what the file names and does not have bears the same code.
    let words = "among those to simulate";
    match diagnostics.iter().find(|d| d.code == "unknown-device" && d.message.ends_with(words)) {
        None => Ok(()),
        Some(Diagnostic { message, help: None, .. }) => Err(Code::Usage.failure(message.clone())),
        Some(Diagnostic { message, help: Some(help), .. }) => {
            Err(Code::Usage.failure(format!("{message}; {help}")))
        }
    }
}

/// Prints problems for people, to stderr or stdout as the caller chose.
pub(crate) fn print(read: &Read, out: &mut dyn std::io::Write) -> std::io::Result<()> {
    for d in &read.diagnostics {
        let kind = match d.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(out, "{}:{}:{}: {kind}[{}]: {}", d.file, d.line, d.column, d.code, d.message)?;
        if let Some(snippet) = read.sources.snippet(d) {
            for line in snippet.lines() {
                writeln!(out, "    {line}")?;
            }
        }
        if let Some(help) = &d.help {
            writeln!(out, "    help: {help}")?;
        }
    }
    Ok(())
}

/// The plant, or its problems on stderr and the code for a wrong file.
pub(crate) fn sound(read: Read) -> Result<PlantSpec, Failure> {
    let _ = print(&read, &mut std::io::stderr());
    let errors = read.errors();
    read.plant.ok_or_else(|| {
        let s = if errors == 1 { "" } else { "s" };
        Code::Config.failure(format!("the plant was not started: {errors} error{s} in its file"))
    })
}
