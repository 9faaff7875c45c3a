//! `dunlin migrate kube-router`: a kube-router DaemonSet's flags and the annotations of Nodes and Services, told as our objects.
//!
//! Nothing is passed over: what has no equivalent is named in a comment, with what to do instead.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

mod flags;
mod nodes;
mod objects;
mod peers;
mod services;

/// Input beyond this is no cluster's objects.
const MOST_INPUT: u64 = 256 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum Migrate {
    /// Print our objects for a kube-router DaemonSet, and for the annotations of Nodes and Services.
    #[command(after_help = "Example:
  kubectl -n kube-system get daemonset kube-router -o yaml > old.yaml
  kubectl get nodes,services -A -o yaml | dunlin migrate kube-router old.yaml - > new.yaml
Nothing is applied. What has no equivalent is named in the comments at the top of the output.")]
    KubeRouter(KubeRouterOptions),
}

#[derive(Debug, Args)]
pub(crate) struct KubeRouterOptions {
    /// YAML files with the DaemonSet, Nodes and Services, or lists of them; `-` is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    files: Vec<PathBuf>,
    /// Write Secrets with the sessions' passwords to this new file (mode 0600). Passwords are never printed.
    #[arg(long, value_name = "FILE")]
    secrets_to: Option<PathBuf>,
}

pub(crate) fn run(command: &Migrate, out: &mut dyn Write) -> Result<bool> {
    let Migrate::KubeRouter(options) = command;
    let mut objects = Vec::new();
    for file in &options.files {
        objects.extend(read(file)?);
    }
    let migration = kube_router(&objects)?;
    if let Some(path) = &options.secrets_to {
        write_secrets(path, &migration.secrets)?;
    }
    out.write_all(migration.text(options.secrets_to.is_some())?.as_bytes())?;
    Ok(true)
}

fn read(file: &std::path::Path) -> Result<Vec<Value>> {
    let mut text = String::new();
    if file.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(MOST_INPUT)
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
    } else {
        std::fs::File::open(file)
            .and_then(|f| f.take(MOST_INPUT).read_to_string(&mut text))
            .with_context(|| format!("cannot read {}", file.display()))?;
    }
    parse(&text).with_context(|| format!("{} is no YAML of objects", file.display()))
}

/// The objects of a YAML stream; lists are taken apart.
fn parse(text: &str) -> Result<Vec<Value>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text)?;
    let mut objects = Vec::new();
    for document in documents {
        match document {
            Value::Null => {}
            Value::Object(mut map) if map.get("items").is_some_and(Value::is_array) => {
                if let Some(Value::Array(items)) = map.remove("items") {
                    objects.extend(items);
                }
            }
            Value::Object(_) => objects.push(document),
            _ => bail!("a document is no object"),
        }
    }
    Ok(objects)
}

/// Creates the file: what is there already might be read by others.
fn write_secrets(path: &std::path::Path, secrets: &BTreeMap<String, String>) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    for (name, password) in secrets {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": name, "namespace": "kube-system" },
            // kube-router takes it in this encoding, too.
            "data": { "password": password },
        });
        writeln!(
            file,
            "---\n{}",
            serde_saphyr::to_string(&secret)?.trim_end()
        )?;
    }
    Ok(())
}

/// What became of a cluster's kube-router.
#[derive(Debug, Default)]
struct Migration {
    /// What has to be known before anything else.
    warnings: Vec<String>,
    /// Each flag and annotation that was found, and what became of it.
    notes: Vec<String>,
    /// Commands that put labels where annotations were.
    commands: Vec<String>,
    objects: Vec<Value>,
    /// Passwords by the name of the Secret that is to hold each.
    secrets: BTreeMap<String, String>,
}

impl Migration {
    fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.warnings.contains(&text) {
            self.warnings.push(text);
        }
    }

    fn text(&self, secrets_written: bool) -> Result<String> {
        let mut text = String::from(
            "# What kube-router was told, as Dunlin's objects. Read the comments before applying.\n",
        );
        section(&mut text, "Before you go on", &self.warnings);
        section(
            &mut text,
            "What became of each flag and annotation",
            &self.notes,
        );
        section(
            &mut text,
            "Labels take the place of annotations on services; run",
            &self.commands,
        );
        if !self.secrets.is_empty() && !secrets_written {
            let commands: Vec<String> = self
                .secrets
                .keys()
                .map(|name| {
                    format!("kubectl -n kube-system create secret generic {name} --from-file=password=FILE")
                })
                .collect();
            section(
                &mut text,
                "Passwords are not printed: --secrets-to FILE writes their Secrets, or make them by hand (no newline at the end)",
                &commands,
            );
        }
        for object in &self.objects {
            text.push_str("---\n");
            text.push_str(serde_saphyr::to_string(object)?.trim_end());
            text.push('\n');
        }
        Ok(text)
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("#\n# {title}:\n"));
    for line in lines {
        text.push_str(&format!("#   {}\n", line.replace('\n', " ")));
    }
}

/// Reads what there is to read and tells it as our objects.
fn kube_router(objects: &[Value]) -> Result<Migration> {
    let mut migration = Migration::default();
    let flags = flags::read(objects, &mut migration)?;
    let nodes = nodes::read(objects, &mut migration);
    let services = services::read(objects, &flags, &mut migration);
    objects::configuration(&flags, &nodes, &mut migration);
    peers::peers(&flags, &nodes, &mut migration)?;
    objects::advertisements(&flags, &nodes, &services, &mut migration);
    objects::pool(&flags, &mut migration);
    Ok(migration)
}

/// An annotation of kube-router's.
fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"][format!("kube-router.io/{name}")].as_str()
}

/// All of them, without their prefix.
fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    let map = object["metadata"]["annotations"].as_object();
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.strip_prefix("kube-router.io/")?, value.as_str()?)))
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests;
