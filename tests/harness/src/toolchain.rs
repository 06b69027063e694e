//! Installs what the client tests need from its registries into the build directory, once.
//!
//! Each piece has a directory with a stamp: a hash of the files that say what is installed. The
//! stamp is written last, so a broken-off installation is done anew. A file lock lets two test
//! binaries run at once.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{run_to_end, tail};

const INSTALL_PATIENCE: Duration = Duration::from_secs(600);
const DEPENDENCY_PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1";

/// A toolchain or package that could not be had, and why.
#[derive(Debug)]
pub struct Missing(String);

impl Missing {
    pub(crate) fn new(why: String) -> Missing {
        Missing(why)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A piece that is there, or a test that is skipped aloud.
pub trait Toolchain<T> {
    /// The piece; `None` after saying on standard error that the test is skipped.
    ///
    /// Panics instead where `CI=true` or `HIGHWATER_REQUIRE_CLIENTS=1`.
    fn or_skip(self, test: &str) -> Option<T>;
}

impl<T> Toolchain<T> for Result<T, Missing> {
    fn or_skip(self, test: &str) -> Option<T> {
        let missing = match self {
            Ok(piece) => return Some(piece),
            Err(missing) => missing,
        };
        let is_set = |key: &str, value: &str| env::var(key).is_ok_and(|found| found == value);
        assert!(
            !is_set("CI", "true") && !is_set("HIGHWATER_REQUIRE_CLIENTS", "1"),
            "{test}: {missing}"
        );
        // Written to the stream itself: the test runner hides what print macros write.
        writeln!(std::io::stderr(), "\nSKIPPED {test}: {missing}\n").expect("stderr is open");
        None
    }
}

/// The Python interpreter that has the three Python clients.
///
/// # Errors
/// Without `python3` or its `venv`, or without the package registry.
pub fn python() -> Result<PathBuf, Missing> {
    let requirements = sources("python/requirements.txt");
    let directory = installed("python", &[&requirements], |directory| {
        run("python3", &["-m", "venv", "."], directory)?;
        let file = requirements.display().to_string();
        let pip = directory.join("bin/pip").display().to_string();
        run(&pip, &["install", "--quiet", "--disable-pip-version-check", "-r", &file], directory)
    })?;
    Ok(directory.join("bin/python"))
}

/// The `node_modules` directory with kafkajs and its codecs.
///
/// # Errors
/// Without `npm`, or without the package registry.
pub fn node_modules() -> Result<PathBuf, Missing> {
    let manifest = sources("node/package.json");
    let lock = sources("node/package-lock.json");
    let directory = installed("node", &[&manifest, &lock], |directory| {
        copy_into(&[&manifest, &lock], directory)?;
        run("npm", &["ci", "--ignore-scripts", "--no-audit", "--no-fund"], directory)
    })?;
    Ok(directory.join("node_modules"))
}

/// The program with franz-go and sarama in it.
///
/// # Errors
/// Without `go`, or without the module proxy.
pub fn go_program() -> Result<PathBuf, Missing> {
    let names = ["go.mod", "go.sum", "cases.go", "franz.go", "life.go", "member.go", "sarama.go"];
    let of_transactions = ["transactions.go", "transactions_franz.go", "transactions_sarama.go"];
    let names = names.iter().chain(&of_transactions);
    let files: Vec<PathBuf> = names.map(|name| sources("go").join(name)).collect();
    let files: Vec<&PathBuf> = files.iter().collect();
    let directory = installed("go", &files, |directory| {
        let program = directory.join("clients").display().to_string();
        run("go", &["build", "-o", &program, "."], &sources("go"))
    })?;
    Ok(directory.join("clients"))
}

/// The directory with the jars of Apache Kafka 4.1, its tools and clients.
///
/// # Errors
/// Without `java` or `mvn`, or without the repository.
pub fn kafka_jars() -> Result<PathBuf, Missing> {
    jars("kafka")
}

/// A command that runs one of our Java programs with these jars; arguments may follow.
///
/// A file `jvm.options` beside the pom takes the place of the usual heap size.
///
/// # Errors
/// Without `javac` or `mvn`, or without the repository.
pub fn java_program(main_class: &str, jars_of: &str) -> Result<Command, Missing> {
    let source = sources("java/src").join(format!("{main_class}.java"));
    let class_path = format!("{}/*", jars(jars_of)?.display());
    let classes = installed(&format!("java-{main_class}"), &[&source], |directory| {
        run("javac", &["-d", ".", "-cp", &class_path, &source.display().to_string()], directory)
    })?;
    let class_path = format!("{}:{class_path}", classes.display());
    let options = sources("java").join(jars_of).join("jvm.options");
    if !options.exists() {
        return Ok(java_command(&class_path, main_class));
    }
    Ok(java_with(&[format!("@{}", options.display())], &class_path, main_class))
}

/// A command that runs a main class quietly.
pub fn java_command(class_path: &str, main_class: &str) -> Command {
    java_with(&["-Xmx256m".to_owned()], class_path, main_class)
}

fn java_with(options: &[String], class_path: &str, main_class: &str) -> Command {
    let log4j = sources("java/log4j2.properties");
    let mut command = Command::new("java");
    command
        .args(options)
        .args(["-XX:TieredStopAtLevel=1", "-cp", class_path])
        .arg(format!("-Dlog4j2.configurationFile={}", log4j.display()))
        .arg(main_class);
    command
}

/// Our Java classes, compiled: `ClientCases`, `TransactionCases` and `ToolDriver`.
///
/// # Errors
/// Without `javac` or `mvn`, or without the repository.
pub fn java_classes() -> Result<PathBuf, Missing> {
    let names = ["ClientCases.java", "TransactionCases.java", "ToolDriver.java"];
    let files = names.map(|name| sources("java/src").join(name));
    let jars = jars("clients39")?;
    installed("java-classes", &files.each_ref(), |directory| {
        let class_path = format!("{}/*", jars.display());
        let files = files.each_ref().map(|file| file.display().to_string());
        let mut arguments = vec!["-d", ".", "-cp", &class_path];
        arguments.extend(files.iter().map(String::as_str));
        run("javac", &arguments, directory)
    })
}

/// The jars of a directory of tests/clients/java.
///
/// # Errors
/// Without `java` or `mvn`, or without the repository.
pub fn jars(name: &str) -> Result<PathBuf, Missing> {
    let pom = sources("java").join(name).join("pom.xml");
    let directory = installed(&format!("java-{name}"), &[&pom], |directory| {
        run("java", &["-version"], directory)?;
        copy_into(&[&pom], directory)?;
        let goal = format!("{DEPENDENCY_PLUGIN}:copy-dependencies");
        run("mvn", &["-q", "-B", &goal, "-DoutputDirectory=jars"], directory)
    })?;
    Ok(directory.join("jars"))
}

/// A kcat command: the one on the path, or Debian's package unpacked into the build directory.
///
/// # Errors
/// Without either, or on a system without `apt-get`.
pub fn kcat() -> Result<Command, Missing> {
    let directory = installed("kcat", &[], |directory| {
        if run("kcat", &["-V"], directory).is_ok() {
            return Ok(());
        }
        run("apt-get", &["download", "-q", "kcat", "librdkafka1", "libyajl2"], directory)?;
        for entry in fs::read_dir(directory).map_err(at(directory))? {
            let path = entry.map_err(at(directory))?.path();
            if path.extension().is_some_and(|extension| extension == "deb") {
                run("dpkg", &["-x", &path.display().to_string(), "."], directory)?;
            }
        }
        Ok(())
    })?;
    let unpacked = directory.join("usr/bin/kcat");
    if !unpacked.exists() {
        return Ok(Command::new("kcat"));
    }
    let mut command = Command::new(unpacked);
    let libraries = fs::read_dir(directory.join("usr/lib")).map_err(at(&directory))?;
    let paths: Vec<String> =
        libraries.flatten().map(|entry| entry.path().display().to_string()).collect();
    command.env("LD_LIBRARY_PATH", paths.join(":"));
    Ok(command)
}

fn sources(name: &str) -> PathBuf {
    crate::repository().join("tests/clients").join(name)
}

/// The directory of a piece; `install` runs in it, emptied, when `manifests` have changed.
fn installed(
    piece: &str,
    manifests: &[&PathBuf],
    install: impl FnOnce(&Path) -> Result<(), Missing>,
) -> Result<PathBuf, Missing> {
    let root = crate::clients_directory();
    let directory = root.join(piece);
    let stamp = root.join(format!("{piece}.stamp"));
    let wanted = stamp_of(manifests)?;
    let lock = File::create(root.join(format!("{piece}.lock"))).map_err(at(&root))?;
    lock.lock().map_err(at(&root))?;
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) && directory.exists() {
        return Ok(directory);
    }
    drop(fs::remove_dir_all(&directory));
    fs::create_dir_all(&directory).map_err(at(&directory))?;
    install(&directory)?;
    fs::write(&stamp, wanted).map_err(at(&stamp))?;
    Ok(directory)
}

fn stamp_of(manifests: &[&PathBuf]) -> Result<String, Missing> {
    let mut hasher = DefaultHasher::new();
    for manifest in manifests {
        fs::read(manifest).map_err(at(manifest))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn copy_into(files: &[&PathBuf], directory: &Path) -> Result<(), Missing> {
    for file in files {
        let name = file.file_name().expect("a file of the sources");
        fs::copy(file, directory.join(name)).map_err(at(file))?;
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str], directory: &Path) -> Result<(), Missing> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    let finished = run_to_end(command, INSTALL_PATIENCE).map_err(Missing)?;
    if finished.is_success() {
        return Ok(());
    }
    let output = tail(&format!("{}{}", finished.stdout, finished.stderr), 15);
    Err(Missing(format!("{program} {}: {output}", arguments.join(" "))))
}

fn at(path: &Path) -> impl Fn(std::io::Error) -> Missing + use<'_> {
    move |error| Missing(format!("{}: {error}", path.display()))
}
