//! Certificates of both sides.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tallyd::grafana::client::{Client, Config, Error, Tls};
use tempfile::TempDir;

use crate::grafana::{Era, Grafana, Options};

/// Files of an authority, a server and a client that it vouches for.
struct Certificates {
    dir: TempDir,
    server: ServerConfig,
}

impl Certificates {
    #[expect(clippy::unwrap_used, reason = "a helper of tests")]
    fn new(asks_for_client: bool) -> Self {
        tallyd::tls::install_provider();
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let signed = |name: &str| {
            let key = KeyPair::generate().unwrap();
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (client, client_key) = signed("tallyd");
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        write("client.pem", client.pem());
        write("client.key", client_key.serialize_pem());
        write("both.pem", client.pem() + &client_key.serialize_pem());
        let (server, server_key) = signed("localhost");
        let key = PrivateKeyDer::try_from(server_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder();
        let builder = if asks_for_client {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let server = builder.with_single_cert(vec![server.der().clone()], key).unwrap();
        Self { dir, server }
    }

    fn grafana(&self) -> Grafana {
        let tls = Some(Arc::new(self.server.clone()));
        Grafana::launch(Options { tls, ..Options::new(Era::Thirteen) })
    }

    /// Asks with these of the files: authority, certificate, key.
    async fn ask(&self, url: &str, files: [Option<&str>; 3]) -> Result<(), Error> {
        let [ca_file, cert_file, key_file] =
            files.map(|name| name.map(|name| self.dir.path().join(name)));
        let tls = Tls { ca_file, cert_file, key_file };
        let client = Client::new(Config { tls, retries: 0, ..Config::new(url) })?;
        client.health().await.map(drop)
    }
}

#[tokio::test]
async fn a_server_is_trusted_by_its_authority_only() {
    let certificates = Certificates::new(false);
    let grafana = certificates.grafana();
    certificates.ask(&grafana.url, [Some("ca.pem"), None, None]).await.unwrap();

    let stranger = Certificates::new(false);
    let error = stranger.ask(&grafana.url, [Some("ca.pem"), None, None]).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let by_address = grafana.url.replace("localhost", "127.0.0.1");
    let error = certificates.ask(&by_address, [Some("ca.pem"), None, None]).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let plain = grafana.url.replace("https", "http");
    certificates.ask(&plain, [None, None, None]).await.unwrap_err();
}

#[tokio::test]
async fn a_client_shows_its_certificate() {
    let certificates = Certificates::new(true);
    let grafana = certificates.grafana();
    let error = certificates.ask(&grafana.url, [Some("ca.pem"), None, None]).await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. }), "{error}");
    let files = [Some("ca.pem"), Some("client.pem"), Some("client.key")];
    certificates.ask(&grafana.url, files).await.unwrap();
    certificates.ask(&grafana.url, [Some("ca.pem"), Some("both.pem"), None]).await.unwrap();
}

#[tokio::test]
async fn files_that_are_no_certificates_are_told_by_name() {
    let certificates = Certificates::new(false);
    let url = "https://localhost:1";
    let check = async |files, named: &str| {
        let error = certificates.ask(url, files).await.unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
    };
    check([Some("none.pem"), None, None], "none.pem").await;
    check([Some("client.key"), None, None], "client.key").await;
    check([None, Some("client.pem"), None], "client.pem").await;
    check([None, Some("client.pem"), Some("none.key")], "none.key").await;
}
