//! Kafka's own command-line tools, run one after another in one JVM (see ToolDriver.java).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::process::end;
use crate::toolchain::{Missing, java_classes, kafka_jars};

const UNIT_SEPARATOR: &str = "\u{1f}";
const RECORD_SEPARATOR: char = '\u{1e}';

/// The JVM that runs the tools. Killed when dropped.
pub struct Tools {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// What one run of a tool gave.
pub struct ToolOutput {
    pub status: i32,
    /// Both outputs of the tool.
    pub text: String,
}

impl Tools {
    /// Starts the JVM.
    ///
    /// # Errors
    /// `Missing` when Java or Maven is not there.
    pub fn start() -> Result<Tools, Missing> {
        let jars = kafka_jars()?;
        let classes = java_classes()?;
        let log4j = crate::repository().join("tests/clients/java/log4j2.properties");
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp"])
            .arg(format!("{}:{}/*", classes.display(), jars.display()))
            .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
            .arg("ToolDriver")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("java was found when the tools were installed");
        let stdin = child.stdin.take().expect("piped above");
        let stdout = BufReader::new(child.stdout.take().expect("piped above"));
        Ok(Tools { child, stdin, stdout })
    }

    /// Runs the main class `tool` with `arguments`; it reads `input` from its standard input.
    ///
    /// Waits at most the driver's minute.
    pub fn run_with_input(&mut self, tool: &str, arguments: &[&str], input: &str) -> ToolOutput {
        let escaped = input.replace('\n', "\\n");
        let words: Vec<&str> =
            [escaped.as_str(), tool].into_iter().chain(arguments.iter().copied()).collect();
        writeln!(self.stdin, "{}", words.join(UNIT_SEPARATOR)).expect("the driver reads");
        self.stdin.flush().expect("the driver reads");
        let mut text = String::new();
        loop {
            let mut line = String::new();
            let size = self.stdout.read_line(&mut line).expect("the driver writes UTF-8");
            assert!(size > 0, "the tools' JVM has ended after: {text}");
            if let Some(status) = line.strip_prefix(RECORD_SEPARATOR) {
                let status = status.trim().parse().expect("the driver writes a number");
                println!("{tool} {arguments:?}: {status}\n{text}");
                return ToolOutput { status, text: text.trim().to_owned() };
            }
            text.push_str(&line);
        }
    }

    /// As `run_with_input` without input; panics unless the tool ends with status 0.
    pub fn run(&mut self, tool: &str, arguments: &[&str]) -> String {
        let output = self.run_with_input(tool, arguments, "");
        assert_eq!(output.status, 0, "{tool} {arguments:?}\n{}", output.text);
        output.text
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}
