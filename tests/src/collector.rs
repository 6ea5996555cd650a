//! A real collector in a folder of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Certificate, Client, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Output, Running, binary, run, until};

/// How long a collector may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a story sets; everything else stays at its default.
#[derive(Clone, Debug, Default)]
pub struct CollectorOptions {
    /// Rule files: name and text.
    pub rules: Vec<(String, String)>,
    /// The routing file's text.
    pub routing: Option<String>,
    /// More lines of TOML for the configuration, in a drop-in.
    pub settings: String,
    /// Where its keys and data are to be; a folder of its own unless given.
    pub data_dir: Option<PathBuf>,
}

/// A collector that was initialised, and usually runs.
pub struct Collector {
    folder: TempDir,
    data_dir: PathBuf,
    environment: Vec<(OsString, OsString)>,
    running: Option<Running>,
    client: Client,
    grpc: String,
    http: String,
    api_token: String,
}

impl Collector {
    /// Initialises a collector and starts it.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(options: &CollectorOptions) -> Result<Self> {
        // The process' provider may have been set by an earlier collector of the same test.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir()?;
        let data_dir = options.data_dir.clone().unwrap_or_else(|| folder.path().join("data"));
        write_configuration(folder.path(), &data_dir, options)?;
        let names = ["init", "--address", "127.0.0.1", "--address", "localhost"];
        run(program(folder.path())?.args(names), "")?.success()?;
        let client = https_client(&data_dir)?;
        let mut collector = Self {
            folder,
            data_dir,
            environment: Vec::new(),
            running: None,
            client,
            grpc: "127.0.0.1:0".to_owned(),
            http: "127.0.0.1:0".to_owned(),
            api_token: String::new(),
        };
        collector.launch().await?;
        let created = collector.command(&["api-token", "create", "story", "--scope", "admin"])?;
        collector.api_token = created.success()?.trim().to_owned();
        Ok(collector)
    }

    /// Gives its next lives more of an environment.
    pub fn set_environment(&mut self, environment: Vec<(OsString, OsString)>) {
        self.environment = environment;
    }

    /// Starts the collector again, on the addresses that it had.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn launch(&mut self) -> Result<()> {
        self.begin()?;
        self.ready().await
    }

    /// Starts the collector again without a look at its pages, which are not to be trusted while its
    /// clock is wrong.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn launch_unseen(&mut self) -> Result<()> {
        self.begin()?;
        self.listening().await
    }

    /// Begins to start the collector, on the addresses that it had.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn begin(&mut self) -> Result<()> {
        let addresses = self.addresses();
        if addresses.exists() {
            std::fs::remove_file(&addresses)?;
        }
        let text =
            format!("[grpc]\nlisten = \"{}\"\n[http]\nlisten = \"{}\"\n", self.grpc, self.http);
        std::fs::write(self.folder.path().join("conf.d/50-listen.toml"), text)?;
        self.running = Some(Running::start(self.program()?.arg("serve"), &self.log_path())?);
        Ok(())
    }

    /// Waits until a collector that begins to start is ready.
    ///
    /// # Errors
    /// When it does not become so.
    pub async fn ready(&mut self) -> Result<()> {
        self.listening().await?;
        until("the collector to be ready", PATIENCE, || async {
            let answer = self.client.get(self.url("/-/ready")).send().await?;
            Ok(answer.status().is_success().then_some(()))
        })
        .await
    }

    /// Waits until it tells where it listens.
    async fn listening(&mut self) -> Result<()> {
        let (addresses, log) = (self.addresses(), self.log_path());
        let running = self.running.as_mut().context("the collector does not run")?;
        let found = until("the collector's addresses", PATIENCE, || {
            let ended = running.has_ended();
            let text = std::fs::read_to_string(&addresses).ok();
            let log = log.clone();
            async move {
                if ended? {
                    bail!("the collector ended: {}", std::fs::read_to_string(log)?);
                }
                Ok(text)
            }
        });
        let found: Value = serde_json::from_str(&found.await?)?;
        self.grpc = found["grpc"].as_str().context("addresses.json: grpc")?.to_owned();
        self.http = found["http"].as_str().context("addresses.json: http")?.to_owned();
        Ok(())
    }

    /// Whether it has begun to listen.
    pub fn listens(&self) -> bool {
        self.addresses().exists()
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        match &mut self.running {
            Some(running) => running.has_ended(),
            None => Ok(true),
        }
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(&mut self) -> Result<()> {
        self.running.take().context("the collector does not run")?.kill()
    }

    /// Asks it to end and waits for that.
    ///
    /// # Errors
    /// When it does not end in time, or not with 0.
    pub async fn stop(&mut self) -> Result<()> {
        let mut running = self.running.take().context("the collector does not run")?;
        match running.stop(PATIENCE).await? {
            Some(0) => Ok(()),
            other => bail!("the collector ended with {other:?}: {}", self.log()?),
        }
    }

    /// Tells it to read its rule files again, as `systemctl reload` does.
    ///
    /// # Errors
    /// When it does not run, or the signal cannot be sent.
    pub fn hang_up(&self) -> Result<()> {
        run(Command::new("kill").arg("-HUP").arg(self.id()?.to_string()), "")?.success()?;
        Ok(())
    }

    /// Writes a rule file beside those that it has.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_rules(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join("rules.d").join(name), text)?)
    }

    /// Runs one of its commands.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        run(self.program()?.args(arguments), "")
    }

    /// A fresh enrollment token.
    ///
    /// # Errors
    /// When the command fails.
    pub fn token(&self) -> Result<String> {
        let output = self.command(&["token", "create", "--address", &self.grpc])?;
        Ok(output.success()?.trim().to_owned())
    }

    /// The address for agents.
    pub fn grpc(&self) -> &str {
        &self.grpc
    }

    /// The process id of the running collector.
    ///
    /// # Errors
    /// When it does not run.
    pub fn id(&self) -> Result<u32> {
        Ok(self.running.as_ref().context("the collector does not run")?.id())
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        match &mut self.running {
            Some(running) => Ok(!running.has_ended()?),
            None => Ok(false),
        }
    }

    /// The address of the HTTP API and a path on it.
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.http)
    }

    /// The token for the HTTP API.
    pub fn api_token(&self) -> &str {
        &self.api_token
    }

    /// A GET with the token.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path)).bearer_auth(&self.api_token)
    }

    /// A POST with the token.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path)).bearer_auth(&self.api_token)
    }

    /// A GET without a token.
    pub fn get_unauthorized(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// The JSON of a successful GET.
    ///
    /// # Errors
    /// When the status says failure.
    pub async fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("GET {path}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text)?)
    }

    /// `data.result` of an instant query.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let request = self.get("/api/v1/query").query(&[("query", expression)]);
        let body: Value = request.send().await?.json().await?;
        let result = body["data"]["result"].as_array().cloned();
        result.with_context(|| format!("query {expression}: {body}"))
    }

    /// The declared gaps of a host.
    ///
    /// # Errors
    /// When the host is not known.
    pub async fn gaps(&self, host: &str) -> Result<Vec<Value>> {
        let gaps = self.json(&format!("/api/v1/hosts/{host}/gaps")).await?;
        gaps["data"].as_array().cloned().context("no gaps")
    }

    /// The raw samples of one series: milliseconds and values as text.
    ///
    /// # Errors
    /// When the query fails or gives more than one series.
    pub async fn samples(&self, selector: &str) -> Result<Vec<(i64, String)>> {
        let result = self.query(&format!("{selector}[1h]")).await?;
        if result.len() > 1 {
            bail!("{selector} gives {} series", result.len());
        }
        let values = result.first().and_then(|row| row["values"].as_array()).cloned();
        let pair = |point: &Value| {
            let seconds = point[0].as_f64().context("a time")?;
            let value = point[1].as_str().context("a value")?;
            Ok(((seconds * 1000.0).round() as i64, value.to_owned()))
        };
        values.unwrap_or_default().iter().map(pair).collect()
    }

    /// Everything that it has logged.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.log_path())?)
    }

    /// The folder that holds its keys and data.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir.clone()
    }

    /// The folder of its configuration.
    pub fn configuration_dir(&self) -> &Path {
        self.folder.path()
    }

    fn addresses(&self) -> PathBuf {
        self.data_dir().join("addresses.json")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("collector.log")
    }

    fn program(&self) -> Result<Command> {
        let mut command = program(self.folder.path())?;
        command.envs(self.environment.iter().cloned());
        Ok(command)
    }
}

fn program(folder: &Path) -> Result<Command> {
    let mut command = Command::new(binary("upkeep-collector")?);
    command.arg("--config").arg(folder.join("collector.toml"));
    Ok(command)
}

fn write_configuration(folder: &Path, data_dir: &Path, options: &CollectorOptions) -> Result<()> {
    let rules = folder.join("rules.d");
    std::fs::create_dir_all(&rules)?;
    std::fs::create_dir_all(folder.join("conf.d"))?;
    for (name, text) in &options.rules {
        std::fs::write(rules.join(name), text)?;
    }
    let mut main = format!("data_dir = {data_dir:?}\n");
    main.push_str(&format!("[rules]\nfolder = {rules:?}\n"));
    if let Some(routing) = &options.routing {
        let path = folder.join("routing.yml");
        std::fs::write(&path, routing)?;
        main.push_str(&format!("[alerts]\nrouting = {path:?}\n"));
    }
    std::fs::write(folder.join("collector.toml"), main)?;
    std::fs::write(folder.join("conf.d/10-story.toml"), &options.settings)?;
    Ok(())
}

fn https_client(data_dir: &Path) -> Result<Client> {
    let root = std::fs::read(data_dir.join("ca/root.pem"))?;
    let client =
        Client::builder().tls_certs_only([Certificate::from_pem(&root)?]).no_proxy().build()?;
    Ok(client)
}
