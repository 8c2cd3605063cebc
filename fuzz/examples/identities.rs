//! Makes the sample identity and the first inputs of `card`, `identity` and
//! `sealed` anew:
//!
//! ```sh
//! cargo run --manifest-path fuzz/Cargo.toml --example identities
//! ```

use kluis_crypto::{Identity, IdentityFile, IdentitySuite, KdfParams, Password};
use kluis_fuzz::{IDENTITY_PASSWORD, SEALED_PLACE, pattern, sealed_vault};
use std::fs;
use std::path::Path;

type Result<T = (), E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

fn main() -> Result {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus)?;
        fs::write(corpus.join(name), bytes)
    };
    let password = Password::new(IDENTITY_PASSWORD);
    let cheap = KdfParams::new(19 << 10, 2)?;
    for (name, suite) in [
        ("x-wing", IdentitySuite::XWing),
        ("x25519", IdentitySuite::X25519),
    ] {
        let identity = Identity::make(suite, 1)?;
        let next = identity.replaced(2)?;
        seed("card", name, identity.card().as_bytes())?;
        seed("card", &format!("{name}-replaced"), next.card().as_bytes())?;
        let file = IdentityFile::seal(&identity, &password, cheap)?.to_armor();
        let card = next.card().to_armor();
        seed("identity", name, file.as_bytes())?;
        seed("identity", &format!("{name}-card"), card.as_bytes())?;
        if suite == IdentitySuite::X25519 {
            fs::write(folder.join("identity.txt"), file)?;
            for size in [0, 1, 100] {
                let sealed = identity
                    .card()
                    .seal(&sealed_vault(), SEALED_PLACE, &pattern(size))?;
                seed("sealed", &format!("{size}"), &sealed)?;
            }
        }
    }
    Ok(())
}
