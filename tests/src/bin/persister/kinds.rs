//! The servers, how each is started, and the settings for it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use evanesce_tests::{Deadline, eventually, free_port};
use rustix::process::Signal;

use crate::dynamodb;
use crate::emulators;
use crate::java;
use crate::server::Server;

/// The user that servers with users know.
pub(crate) const USER: &str = "evanesce";

/// Its password.
pub(crate) const PASSWORD: &str = "right-s3cret";

/// A server that lets nobody in by then will not.
const PREPARE_LIMIT: Duration = Duration::from_secs(60);

/// A kind of store with a real server behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Cassandra,
    DynamoDb,
    Http,
    Memcached,
    MySql,
    Postgres,
    Redis,
    S3,
}

/// How a store is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Want {
    pub(crate) password: &'static str,
    pub(crate) create: bool,
}

impl Default for Want {
    fn default() -> Self {
        Want { password: PASSWORD, create: true }
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Redis,
        Kind::Memcached,
        Kind::Http,
        Kind::Postgres,
        Kind::MySql,
        Kind::S3,
        Kind::DynamoDb,
        Kind::Cassandra,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Cassandra => "cassandra",
            Kind::DynamoDb => "dynamodb",
            Kind::Http => "http",
            Kind::Memcached => "memcached",
            Kind::MySql => "mysql",
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
            Kind::S3 => "s3",
        }
    }

    /// Whether there is a table or the like, which may be missing.
    pub(crate) fn has_schema(self) -> bool {
        matches!(self, Kind::Cassandra | Kind::DynamoDb | Kind::MySql | Kind::Postgres)
    }

    /// Whether it asks who we are. Amazon's own DynamoDB for a machine does not: another is asked beside it.
    pub(crate) fn has_credentials(self) -> bool {
        !matches!(self, Kind::Http | Kind::DynamoDb)
    }

    /// The password that it takes.
    pub(crate) fn password(self) -> &'static str {
        if self == Kind::Cassandra { "cassandra" } else { PASSWORD }
    }

    /// Whether it has after a restart what it had before.
    pub(crate) fn is_durable(self) -> bool {
        !matches!(self, Kind::Memcached | Kind::Http | Kind::S3)
    }

    /// The settings of a store at this address.
    pub(crate) fn settings(self, address: SocketAddr, want: Want) -> String {
        let Want { password, create } = want;
        let login = format!("user = '{USER}'\npassword = '{password}'\ncreate = {create}\n");
        match self {
            Kind::Cassandra => {
                // The role that every Cassandra begins with.
                let password = if password == PASSWORD { self.password() } else { password };
                let login =
                    format!("user = 'cassandra'\npassword = '{password}'\ncreate = {create}\nreplicas = 1\n");
                format!("kind = 'cassandra'\nnodes = ['{address}']\n{login}")
            }
            Kind::DynamoDb => dynamodb::settings(address, password, create),
            Kind::Http => format!("kind = 'http'\nurl = 'http://{address}/{{key}}'\n"),
            Kind::Memcached => {
                format!(
                    "kind = 'memcached'\nnodes = ['one/{address}']\nuser = '{USER}'\npassword = '{password}'\n"
                )
            }
            Kind::S3 => format!(
                "kind = 's3'\ncontainer = '{}'\nendpoint = 'http://{address}'\nprefix = 'items'\n\
                 access_key_id = '{}'\nsecret_access_key = '{password}'\n",
                emulators::S3_PLACE,
                emulators::ACCESS_KEY
            ),
            Kind::MySql => format!("kind = 'mysql'\nurl = 'mysql://{address}/evanesce'\n{login}"),
            Kind::Postgres => format!("kind = 'postgres'\nurl = 'postgresql://{address}/evanesce'\n{login}"),
            Kind::Redis => format!("kind = 'redis'\nurl = 'redis://{address}/0'\npassword = '{password}'\n"),
        }
    }

    /// Makes its data directory and command; starts nothing that stays.
    pub(crate) fn install(self, directory: &Path, installed: &Path) -> anyhow::Result<Server> {
        let address = free_port()?;
        match self {
            Kind::Cassandra => java::cassandra(address, directory, installed),
            Kind::DynamoDb => dynamodb::local(address, directory, installed),
            Kind::Http => emulators::http(address, directory),
            Kind::Memcached => memcached(address, directory),
            Kind::MySql => mysql(address, directory),
            Kind::Postgres => postgres(address, directory),
            Kind::Redis => Ok(redis(address, directory)),
            Kind::S3 => Ok(emulators::s3(address, directory, installed)),
        }
    }
}

pub(crate) fn texts<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

/// Runs a program to its end.
pub(crate) fn done(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(log)?;
    let mut command = Command::new(program);
    command.args(arguments).stdout(file.try_clone()?).stderr(file);
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    if !status.success() {
        bail!("{} failed; it printed:\n{}", program.display(), std::fs::read_to_string(log)?);
    }
    Ok(())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn redis(address: SocketAddr, directory: &Path) -> Server {
    let (port, data) = (address.port().to_string(), directory.display().to_string());
    let mut command = texts(["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    command.extend(texts([
        "--port",
        &port,
        "--dir",
        &data,
        "--requirepass",
        PASSWORD,
        "--maxmemory",
        "256mb",
    ]));
    Server::new(address, directory, command, None)
}

fn memcached(address: SocketAddr, directory: &Path) -> anyhow::Result<Server> {
    let users = directory.join("users");
    std::fs::write(&users, format!("{USER}:{PASSWORD}\n"))?;
    let (port, users) = (address.port().to_string(), users.display().to_string());
    let mut command =
        texts(["memcached", "-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", "64", "-Y", &users]);
    if is_root() {
        command.extend(texts(["-u", "root"]));
    }
    Ok(Server::new(address, directory, command, None))
}

/// The newest PostgreSQL that is installed, which Debian keeps off the path.
fn postgres_programs() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .context("postgresql is missing: apt-get install postgresql")?;
    let programs =
        versions.flatten().map(|entry| entry.path().join("bin")).filter(|path| path.join("initdb").exists());
    programs.max().context("postgresql is missing: apt-get install postgresql")
}

/// It refuses to run as root, so it gets the user that its package made.
fn as_postgres(program: &Path, arguments: Vec<String>) -> Vec<String> {
    let mut command = Vec::new();
    if is_root() {
        command = texts(["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]);
    }
    command.push(program.display().to_string());
    command.extend(arguments);
    command
}

fn postgres(address: SocketAddr, directory: &Path) -> anyhow::Result<Server> {
    let programs = postgres_programs()?;
    let (data, secret) = (directory.join("data"), directory.join("password"));
    std::fs::write(&secret, PASSWORD)?;
    std::fs::create_dir_all(&data)?;
    if is_root() {
        let owned = [data.display().to_string(), secret.display().to_string()];
        let arguments = [&texts(["postgres:postgres"])[..], &owned].concat();
        done(Path::new("chown"), &arguments, &directory.join("chown.log"))?;
    }
    let (data, secret) = (data.display().to_string(), secret.display().to_string());
    let make = texts([
        "-D",
        &data,
        "-U",
        USER,
        "--pwfile",
        &secret,
        "--auth=scram-sha-256",
        "--no-sync",
        "-E",
        "UTF8",
    ]);
    let make = as_postgres(&programs.join("initdb"), make);
    done(Path::new(&make[0]), &make[1..], &directory.join("initdb.log"))?;
    let port = address.port().to_string();
    let serve =
        texts(["-D", &data, "-p", &port, "-h", "127.0.0.1", "-k", &data, "-c", "shared_buffers=16MB"]);
    let serve = as_postgres(&programs.join("postgres"), serve);
    let prepare = |server: &Server| {
        // The database that `initdb` makes is another; ours is made through the protocol's own program.
        let (port, host) = (server.address.port().to_string(), "127.0.0.1");
        let create =
            texts(["-h", host, "-p", &port, "-U", USER, "-d", "postgres", "-c", "CREATE DATABASE evanesce"]);
        let mut arguments = vec![format!("PGPASSWORD={PASSWORD}"), "psql".to_owned()];
        arguments.extend(create);
        let log = std::env::temp_dir().join(format!("psql-{port}.log"));
        // It listens before it lets anybody in.
        let made = || done(Path::new("env"), &arguments, &log).ok();
        Ok(eventually("the database of PostgreSQL", Deadline::within(PREPARE_LIMIT), made)?)
    };
    let mut server = Server::new(address, directory, serve, Some(prepare));
    // On SIGTERM it waits for its clients.
    server.end = Signal::INT;
    Ok(server)
}

fn mysql(address: SocketAddr, directory: &Path) -> anyhow::Result<Server> {
    let data = directory.join("data");
    std::fs::create_dir_all(&data)?;
    let first = directory.join("first.sql");
    let statements = format!(
        "CREATE DATABASE IF NOT EXISTS evanesce;\nCREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON evanesce.* TO '{USER}'@'%';\n"
    );
    std::fs::write(&first, statements)?;
    let (data, first) = (data.display().to_string(), first.display().to_string());
    // It refuses to run as root, but becomes the user that its package made.
    let user: Vec<String> = if is_root() { texts(["--user=mysql"]) } else { Vec::new() };
    let mut make = texts(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal"]);
    make.push(format!("--datadir={data}"));
    make.extend(user.clone());
    done(Path::new("mariadb-install-db"), &make, &directory.join("install.log"))?;
    let mut serve =
        texts(["mariadbd", "--no-defaults", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M"]);
    serve.extend([
        format!("--datadir={data}"),
        format!("--socket={data}/socket"),
        format!("--pid-file={data}/pid"),
        format!("--port={}", address.port()),
        format!("--init-file={first}"),
    ]);
    serve.extend(user);
    Ok(Server::new(address, directory, serve, None))
}
