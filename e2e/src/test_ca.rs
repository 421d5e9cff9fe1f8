//! A certificate authority of a test's own, by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use testbed::lab::{namespace::run, tool};

/// An authority whose files stand in a folder.
#[derive(Debug)]
pub struct TestCa {
    dir: PathBuf,
}

impl TestCa {
    /// Whether one can be made here.
    pub fn possible() -> Result<PathBuf> {
        tool::find("openssl", "openssl")
    }

    /// Makes one in `dir`, which is made for it.
    pub fn create(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir)?;
        let made = Self { dir: dir.to_owned() };
        made.certify("ca", "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign", &[])?;
        Ok(made)
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Certificate and key of a server at `names` (`IP:127.0.0.1`, `DNS:localhost`), PEM.
    pub fn issue(&self, name: &str, names: &str) -> Result<(PathBuf, PathBuf)> {
        let extensions = format!(
            "basicConstraints = critical, CA:FALSE\nextendedKeyUsage = serverAuth\nsubjectAltName = {names}"
        );
        self.certify(name, &extensions, &["-CA", "ca.pem", "-CAkey", "ca.key"])?;
        Ok((self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key"))))
    }

    /// A key and a certificate for it, valid from now for two days.
    fn certify(&self, name: &str, extensions: &str, by: &[&str]) -> Result<()> {
        let text = format!(
            "[req]\ndistinguished_name = dn\nprompt = no\nx509_extensions = ext\n[dn]\nCN = {name} of {}\n\
             [ext]\nsubjectKeyIdentifier = hash\n{extensions}\n",
            self.dir.display()
        );
        let config = format!("{name}.cnf");
        fs::write(self.dir.join(&config), text)?;
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let mut command = Command::new(Self::possible()?);
        command.current_dir(&self.dir).args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", &config]);
        command.args(["-keyout", &key, "-out", &certificate]).args(by);
        run(&mut command).map(drop).with_context(|| format!("certify {name}"))
    }
}
