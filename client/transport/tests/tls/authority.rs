//! Authorities, and what they sign.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use evanesce_transport::TlsOptions;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

/// An authority of its own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM form.
pub(crate) struct Identity {
    cert: String,
    key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("there is randomness");
        Self(CertifiedIssuer::self_signed(params, key).expect("the key signs"))
    }

    /// A certificate for a name or an address.
    pub(crate) fn sign(&self, name: &str) -> Identity {
        self.sign_with(name, |_| {})
    }

    pub(crate) fn sign_expired(&self, name: &str) -> Identity {
        self.sign_with(name, |params| params.not_after = rcgen::date_time_ymd(2001, 2, 3))
    }

    /// What a client that trusts this authority goes by.
    pub(crate) fn trusted(&self) -> TlsOptions {
        TlsOptions::new().root_pem(pem("CERTIFICATE", self.0.der()).as_bytes()).expect("an authority")
    }

    /// The same, of a client that shows something.
    pub(crate) fn trusted_with(&self, identity: &Identity) -> TlsOptions {
        self.trusted().identity_pem(&identity.cert_pem(), &identity.key_pem()).expect("they belong together")
    }

    fn sign_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("there is randomness");
        let cert = params.signed_by(&key, &self.0).expect("the authority signs");
        Identity { cert: pem("CERTIFICATE", cert.der()), key: pem("PRIVATE KEY", &key.serialize_der()) }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("an authority");
        Arc::new(roots)
    }
}

impl Identity {
    pub(crate) fn cert_pem(&self) -> Vec<u8> {
        self.cert.clone().into_bytes()
    }

    pub(crate) fn key_pem(&self) -> Vec<u8> {
        self.key.clone().into_bytes()
    }

    /// What a node goes by that shows this, and asks clients for a certificate of `asked`.
    pub(crate) fn server(&self, asked: Option<&Authority>) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().expect("ring knows both versions");
        let builder = match asked {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(authority.roots(), provider);
                builder.with_client_cert_verifier(verifier.build().expect("it has a root"))
            }
        };
        let cert = CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("just made");
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("just made");
        Arc::new(builder.with_single_cert(vec![cert], key).expect("they belong together"))
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64_STANDARD.encode(der))
}
