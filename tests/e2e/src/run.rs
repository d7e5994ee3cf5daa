//! One finished program: what it printed and how it ended.

use std::io::{Read, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub struct Run {
    pub line: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Run {
    /// Runs to the end, or kills it when the time is over (then there is no code).
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn of(command: &mut Command, input: Option<&str>, limit: Duration) -> Self {
        let line = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        let began = Instant::now();
        let stdin = if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        let mut child = command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("`{line}` does not start: {e}"));
        if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
            // A program that ends early does not read all of it.
            let _ = pipe.write_all(text.as_bytes());
        }
        let out = reader(child.stdout.take());
        let err = reader(child.stderr.take());
        let code = loop {
            match child.try_wait().expect("waiting for a child") {
                Some(status) => break status.code(),
                None if began.elapsed() > limit => {
                    let _ = child.kill();
                    let _ = child.wait();
                    break None;
                }
                None => std::thread::sleep(Duration::from_millis(3)),
            }
        };
        let took = began.elapsed();
        Self {
            line,
            code,
            stdout: out.join().unwrap_or_default(),
            stderr: err.join().unwrap_or_default(),
            took,
        }
    }

    /// Its output, when it ended well.
    ///
    /// # Panics
    /// When it did not, with everything it said.
    #[must_use = "use `done` when the output does not matter"]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.stdout
    }

    /// It ended well.
    ///
    /// # Panics
    /// When it did not.
    pub fn done(self) {
        let _ = self.ok();
    }

    /// What it complained about, when it ended with this code.
    ///
    /// # Panics
    /// When it ended otherwise.
    pub fn fails(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self.stderr
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
