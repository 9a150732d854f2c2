//! Servers that run on Java.

use std::net::SocketAddr;
use std::path::Path;

use evanesce_tests::free_port;

use crate::server::Server;

/// What Cassandra reaches for inside Java 17: the list of its own start script.
const EXPORTS: [&str; 9] = [
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.ref",
    "java.base/sun.nio.ch",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.rmi/sun.rmi.transport.tcp",
    "jdk.attach/sun.tools.attach",
];
const OPENS: [&str; 17] = [
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "jdk.management/com.sun.management.internal",
];

/// One node of Cassandra, from its published jars, with little memory.
pub(crate) fn cassandra(address: SocketAddr, directory: &Path, installed: &Path) -> anyhow::Result<Server> {
    let (data, jars) = (directory.display(), installed.join("cassandra"));
    let (storage, jmx) = (free_port()?.port(), free_port()?.port());
    let configuration = directory.join("cassandra.yaml");
    std::fs::write(&configuration, yaml(directory, address.port(), storage))?;
    std::fs::write(directory.join("logback.xml"), LOGBACK)?;
    let mut command: Vec<String> =
        ["java", "-Xms512m", "-Xmx512m", "-XX:MaxDirectMemorySize=256m", "-XX:+UseSerialGC"]
            .map(str::to_owned)
            .to_vec();
    // Serves sooner, which counts here more than how fast.
    command.push("-XX:TieredStopAtLevel=1".to_owned());
    command.extend(EXPORTS.map(|package| format!("--add-exports={package}=ALL-UNNAMED")));
    command.extend(OPENS.map(|package| format!("--add-opens={package}=ALL-UNNAMED")));
    command.push(format!("-javaagent:{}", jars.join("jamm-0.4.0.jar").display()));
    command.extend([
        "-Djdk.attach.allowAttachSelf=true".to_owned(),
        format!("-Dcassandra.storagedir={data}"),
        format!("-Dcassandra.config=file://{}", configuration.display()),
        format!("-Dlogback.configurationFile={data}/logback.xml"),
        format!("-Dcassandra.jmx.local.port={jmx}"),
        "-Dcassandra.skip_wait_for_gossip_to_settle=0".to_owned(),
        "-Dcassandra.ring_delay_ms=1".to_owned(),
        "-Dcassandra.superuser_setup_delay_ms=0".to_owned(),
        "-Dcassandra-foreground=yes".to_owned(),
        "-cp".to_owned(),
        format!("{}/*", jars.display()),
        "org.apache.cassandra.service.CassandraDaemon".to_owned(),
    ]);
    // It makes its first role after it begins to listen.
    let prepare = |server: &Server| server.prints("Created default superuser role");
    Ok(Server::new(address, directory, command, Some(prepare)))
}

const LOGBACK: &str = r#"<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{HH:mm:ss.SSS} %level %logger{0} %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="OUT"/></root>
</configuration>
"#;

fn yaml(directory: &Path, port: u16, storage: u16) -> String {
    let data = directory.display();
    format!(
        "cluster_name: evanesce\nnum_tokens: 1\npartitioner: org.apache.cassandra.dht.Murmur3Partitioner\n\
         data_file_directories: ['{data}/data']\ncommitlog_directory: '{data}/commitlog'\n\
         hints_directory: '{data}/hints'\nsaved_caches_directory: '{data}/saved'\ncdc_raw_directory: '{data}/cdc'\n\
         commitlog_sync: periodic\ncommitlog_sync_period: 1000ms\n\
         listen_address: 127.0.0.1\nrpc_address: 127.0.0.1\nstorage_port: {storage}\nnative_transport_port: {port}\n\
         start_native_transport: true\nendpoint_snitch: SimpleSnitch\nauto_bootstrap: false\n\
         authenticator: PasswordAuthenticator\nauthorizer: CassandraAuthorizer\nrole_manager: CassandraRoleManager\n\
         seed_provider:\n- class_name: org.apache.cassandra.locator.SimpleSeedProvider\n  \
         parameters: [{{seeds: '127.0.0.1:{storage}'}}]\n\
         file_cache_size: 32MiB\ndisk_access_mode: standard\n"
    )
}
