//! Loads the descriptors of one module from where its configuration says they are.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::registry::reflection;
use crate::registry::reflection::Reflected;
use crate::schema::Fault;
use crate::schema::Limits;
use crate::schema::Schema;
use crate::schema::compile;
use crate::schema::source;

/// Where the descriptors of one module are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `.proto` files below this directory, or the one file of this path.
    Directory(PathBuf),
    /// A file that `protoc --descriptor_set_out` or `buf build` wrote.
    DescriptorSet(PathBuf),
    /// A server that answers gRPC server reflection.
    Reflection {
        /// Scheme, host and port of the server, such as `http://127.0.0.1:50051`.
        uri: String,
        /// For the whole conversation, connecting included.
        timeout: Duration,
    },
}

impl Source {
    /// Reads and compiles. Imports that the source lacks are sought in `deps`. Reading and compiling block a
    /// thread of tokio's blocking pool, not the caller's.
    ///
    /// # Errors
    ///
    /// Every fault that can be found, at least one.
    pub async fn load(&self, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
        if let Self::Reflection { uri, timeout } = self {
            return from_reflection(uri, *timeout, deps, limits).await.map(|reflected| reflected.schema);
        }
        let (source, deps, limits) = (self.clone(), deps.to_vec(), *limits);
        let loaded = tokio::task::spawn_blocking(move || source.load_blocking(&deps, &limits)).await;
        loaded.unwrap_or_else(|_| {
            Err(vec![Fault::new("(all files)", "reading them was cut short", "try again")])
        })
    }

    /// Reads and compiles files on the calling thread.
    ///
    /// # Errors
    ///
    /// Every fault that can be found, at least one; for reflection, that it can't be done here.
    pub fn load_blocking(&self, deps: &[Schema], limits: &Limits) -> Result<Schema, Vec<Fault>> {
        match self {
            Self::Directory(path) => compile::protos(source::protos(path, limits)?, deps, limits),
            Self::DescriptorSet(path) => {
                let set = source::descriptor_set(path, limits)?;
                compile::descriptor_set(&set, deps, limits).map_err(|faults| name_set(path, faults))
            }
            Self::Reflection { uri, .. } => {
                let problem = "a server can't be asked while files are read";
                Err(vec![Fault::new(uri.as_str(), problem, "load this source asynchronously")])
            }
        }
    }

    /// What to watch for changes; none for a server, which is asked again from time to time.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) | Self::DescriptorSet(path) => Some(path),
            Self::Reflection { .. } => None,
        }
    }
}

/// Faults of the set as a whole name its path.
fn name_set(path: &Path, mut faults: Vec<Fault>) -> Vec<Fault> {
    for fault in faults.iter_mut().filter(|fault| fault.file.starts_with('(')) {
        fault.file = path.display().to_string();
    }
    faults
}

async fn from_reflection(
    uri: &str,
    timeout: Duration,
    deps: &[Schema],
    limits: &Limits,
) -> Result<Reflected, Vec<Fault>> {
    let unfit = |error: tonic::transport::Error| {
        let problem = format!("it is not the address of a server: {error}");
        vec![Fault::new(uri, problem, "write it as http://host:port")]
    };
    let endpoint = Endpoint::from_shared(uri.to_owned()).map_err(unfit)?;
    let channel = endpoint.connect_timeout(timeout).connect_lazy();
    let limits = reflection::Limits { timeout, schema: *limits, ..reflection::Limits::default() };
    reflection::fetch(channel, deps, &limits).await.map_err(|mut faults| {
        for fault in faults.iter_mut().filter(|fault| fault.file.starts_with('(')) {
            fault.file = uri.to_owned();
        }
        faults
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files_are_loaded_and_faults_name_them() {
        let root = tempfile::tempdir().unwrap();
        let text = "syntax = \"proto3\"; package p; message A {} service S { rpc M(A) returns (A); }";
        std::fs::write(root.path().join("a.proto"), text).unwrap();
        let limits = Limits::default();
        let source = Source::Directory(root.path().to_owned());
        let schema = source.load(&[], &limits).await.unwrap();
        assert!(schema.method("/p.S/M").is_some());

        let set = root.path().join("set.binpb");
        std::fs::write(&set, schema.descriptor_set()).unwrap();
        let again = Source::DescriptorSet(set.clone()).load(&[], &limits).await.unwrap();
        assert_eq!(again.digest(), schema.digest());

        std::fs::write(&set, b"no set").unwrap();
        let source = Source::DescriptorSet(set.clone());
        assert_eq!(source.path(), Some(set.as_path()));
        assert_eq!(source.load(&[], &limits).await.unwrap_err()[0].file, set.display().to_string());
    }

    #[tokio::test]
    async fn a_server_that_is_away_is_named() {
        let timeout = Duration::from_secs(5);
        let limits = Limits::default();
        // Bound and closed at once, so that nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let source = Source::Reflection { uri: format!("http://127.0.0.1:{port}"), timeout };
        let faults = source.load(&[], &limits).await.unwrap_err();
        assert!(
            faults[0].to_string().starts_with(&format!("http://127.0.0.1:{port}: it can't be asked")),
            "{faults:?}"
        );
        assert!(source.load_blocking(&[], &limits).is_err());
        let source = Source::Reflection { uri: "no uri at all".into(), timeout };
        assert!(source.load(&[], &limits).await.unwrap_err()[0].problem.contains("not the address"));
    }
}
