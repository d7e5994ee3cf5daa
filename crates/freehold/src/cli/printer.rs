//! The only place that prints. Results go to standard output, everything said on the way there to
//! standard error, so that output can be piped.

use super::{Global, Trouble};
use anyhow::{Context as _, Result};
use std::io::{IsTerminal as _, Write};

/// `-o`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

/// Colours with a meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Good,
    Bad,
    Warn,
    Faint,
    Strong,
}

#[derive(Clone, Debug)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    pub(crate) verbose: u8,
    quiet: bool,
    color_out: bool,
    color_err: bool,
    live: bool,
    /// progress is shown
    progress: bool,
}

impl Printer {
    pub(crate) fn new(global: &Global) -> Self {
        let colors = !global.no_color && !crate::env::plain();
        Self {
            format: global.format.unwrap_or_default(),
            verbose: global.verbose,
            quiet: global.quiet,
            color_out: colors && std::io::stdout().is_terminal(),
            color_err: colors && std::io::stderr().is_terminal(),
            live: std::io::stderr().is_terminal() && !crate::env::plain(),
            progress: !global.quiet,
        }
    }

    /// The same without progress, for work that is shown otherwise.
    pub(crate) fn without_progress(&self) -> Self {
        Self {
            progress: false,
            ..self.clone()
        }
    }

    /// A result. A reader that went away (`| head`) is no error.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        let _ = writeln!(std::io::stdout().lock(), "{}", text.as_ref());
        let _ = std::io::stdout().flush();
    }

    /// A result that is already complete, newline and all.
    pub(crate) fn raw(&self, text: impl AsRef<str>) {
        let _ = write!(std::io::stdout().lock(), "{}", text.as_ref());
    }

    /// Something said on the way; silent with `--quiet`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            let _ = writeln!(
                std::io::stderr().lock(),
                "{}{}",
                self.clear(),
                text.as_ref()
            );
        }
    }

    /// Progress of long work: rewrites its line on a terminal, plain lines elsewhere.
    pub(crate) fn progress(&self, text: impl AsRef<str>) {
        if !self.progress {
            return;
        }
        let mut err = std::io::stderr().lock();
        let _ = if self.live {
            write!(err, "{}{}", self.clear(), text.as_ref())
        } else {
            writeln!(err, "{}", text.as_ref())
        };
        let _ = err.flush();
    }

    /// Takes the last progress line away.
    pub(crate) fn progress_done(&self) {
        if self.live && self.progress {
            let _ = write!(std::io::stderr().lock(), "{}", self.clear());
        }
    }

    fn clear(&self) -> &'static str {
        if self.live { "\r\x1b[2K" } else { "" }
    }

    /// `error:`, its causes, and what to do.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut err = std::io::stderr().lock();
        let _ = writeln!(
            err,
            "{}{} {error}",
            self.clear(),
            paint(self.color_err, Tone::Bad, "error:")
        );
        for cause in error.chain().skip(1) {
            let _ = writeln!(err, "  because: {cause}");
        }
        if let Some(advice) = error.downcast_ref::<Trouble>().and_then(Trouble::advice) {
            let _ = writeln!(err, "  {advice}");
        }
    }

    /// Text in a colour, when results are read by a person.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        paint(self.color_out, tone, text)
    }

    /// An object or list as `-o json|yaml`.
    pub(crate) fn data(&self, value: &serde_json::Value) -> Result<()> {
        if self.format == Format::Yaml {
            self.raw(yaml(value)?);
        } else {
            self.line(serde_json::to_string_pretty(value).context("cannot write JSON")?);
        }
        Ok(())
    }

    /// Columns aligned as kubectl aligns them.
    pub(crate) fn table(&self, header: &[String], rows: &[Vec<String>]) {
        let columns = header.len();
        let mut widths: Vec<usize> = header.iter().map(|h| h.chars().count()).collect();
        for row in rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::iter::once(header).chain(rows.iter().map(Vec::as_slice)) {
            let mut line = String::new();
            for (index, cell) in row.iter().take(columns).enumerate() {
                line.push_str(cell);
                if index + 1 < columns {
                    let fill = widths[index].saturating_sub(cell.chars().count()) + 3;
                    line.extend(std::iter::repeat_n(' ', fill));
                }
            }
            self.line(line.trim_end());
        }
    }
}

/// YAML of a JSON value.
pub(crate) fn yaml(value: &serde_json::Value) -> Result<String> {
    let mut text = serde_saphyr::to_string(value).context("cannot write YAML")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn paint(on: bool, tone: Tone, text: &str) -> String {
    if !on {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
