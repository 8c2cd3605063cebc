//! Keys as types: one newtype per role, on the heap, wiped on drop.

/// Declares a 32-byte secret. It has no `Clone`, `Copy`, `Default`, `Display`
/// or equality, and its `Debug` prints the name alone.
macro_rules! secret_key {
    ($(#[$doc:meta])* $vis:vis struct $name:ident;) => {
        $(#[$doc])*
        $vis struct $name(Box<[u8; 32]>);

        #[allow(dead_code, reason = "not every role needs every constructor")]
        impl $name {
            /// Fills the key in place, so that no copy stays on the stack.
            pub(crate) fn init_with(fill: impl FnOnce(&mut [u8; 32])) -> Self {
                let mut key = Self(Box::new([0; 32]));
                fill(&mut key.0);
                key
            }

            /// `KDF(key, label, context…)`.
            pub(crate) fn derive(
                key: &[u8; 32],
                label: $crate::kdf::Label,
                context: &[&[u8]],
            ) -> Self {
                Self::init_with(|out| $crate::kdf::derive(key, label, context, out))
            }

            /// 32 fresh random bytes.
            pub(crate) fn make() -> $crate::Result<Self> {
                let mut key = Self(Box::new([0; 32]));
                $crate::random::fill(&mut key.0[..])?;
                Ok(key)
            }

            pub(crate) fn expose_secret(&self) -> &[u8; 32] {
                &self.0
            }

            /// A second holder of the same key, where two structures own one.
            pub(crate) fn duplicate(&self) -> Self {
                Self::init_with(|out| *out = *self.0)
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                zeroize::Zeroize::zeroize(&mut self.0[..]);
            }
        }

        impl zeroize::ZeroizeOnDrop for $name {}

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use secret_key;
