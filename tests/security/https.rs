//! Certificates, and a client that speaks TLS and as much HTTP as tests need.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

/// How long an answer may take, on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) cert: String,
    pub(crate) key: String,
}

#[expect(clippy::unwrap_used, reason = "helpers of tests")]
impl Authority {
    /// One that nobody knows yet.
    pub(crate) fn new(name: &str) -> Self {
        tallyd::tls::install_provider();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Itself, as somebody who shows a certificate that it signed for itself.
    pub(crate) fn identity(&self) -> Identity {
        Identity { cert: self.0.pem(), key: self.0.key().serialize_pem() }
    }

    /// A certificate for somebody with these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let cert = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        Identity { cert: cert.pem(), key: key.serialize_pem() }
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header lines, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Somebody who asks for pages.
#[derive(Clone)]
pub(crate) struct Client {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

#[expect(clippy::unwrap_used, reason = "helpers of tests")]
impl Client {
    /// A client without TLS, of `host:port` or of a Unix socket's path.
    pub(crate) fn plain(address: &str) -> Self {
        Self { address: address.to_owned(), tls: None }
    }

    /// A client that trusts an authority's servers, and shows who it is if it is anybody.
    pub(crate) fn trusting(address: &str, authority: &Authority, who: Option<&Identity>) -> Self {
        Self::with_versions(address, authority, who, rustls::ALL_VERSIONS)
    }

    /// The same, with some versions of TLS alone.
    pub(crate) fn with_versions(
        address: &str,
        authority: &Authority,
        who: Option<&Identity>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_protocol_versions(versions);
        let builder = builder.with_root_certificates(roots);
        let config = match who {
            None => builder.with_no_client_auth(),
            Some(who) => {
                let cert = CertificateDer::from_pem_slice(who.cert.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(who.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        Self { address: address.to_owned(), tls: Some(Arc::new(config)) }
    }

    /// The same client, who wants to speak this.
    pub(crate) fn speaking(&self, protocol: &[u8]) -> Self {
        let mut client = self.clone();
        let tls = client.tls.as_mut().map(Arc::make_mut);
        tls.unwrap().alpn_protocols = vec![protocol.to_vec()];
        client
    }

    /// A connection, with its handshake done.
    ///
    /// # Errors
    /// When one of the two does not like the other.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn ReadWrite>> {
        let stream = connect(&self.address)?;
        let Some(tls) = &self.tls else { return Ok(stream) };
        let name = "localhost".try_into().unwrap();
        let mut connection = ClientConnection::new(Arc::clone(tls), name).unwrap();
        let mut stream = stream;
        connection.complete_io(&mut stream)?;
        Ok(Box::new(StreamOwned::new(connection, stream)))
    }

    /// Asks for a page; `headers` end in line ends.
    ///
    /// # Errors
    /// When there is no whole answer.
    pub(crate) fn get(&self, path: &str, headers: &str) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes())?;
        read_answer(&mut stream)
    }
}

/// Reads an answer that ends with its connection.
///
/// # Errors
/// When it is none.
pub(crate) fn read_answer(stream: &mut impl Read) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => return Err(error),
        _ => {}
    }
    let text = String::from_utf8_lossy(&bytes);
    let bad = || io::Error::other(format!("no answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(bad)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(bad)?;
    Ok(Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() })
}

/// A connection of any kind.
pub(crate) trait ReadWrite: Read + Write + Send {}

impl<T: Read + Write + Send> ReadWrite for T {}

/// Opens a connection that does not wait for ever.
///
/// # Errors
/// What the kernel says.
pub(crate) fn connect(address: &str) -> io::Result<Box<dyn ReadWrite>> {
    if Path::new(address).is_absolute() {
        let stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        return Ok(Box::new(stream));
    }
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(Box::new(stream))
}
