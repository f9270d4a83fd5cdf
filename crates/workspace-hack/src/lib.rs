//! Names features in its manifest and holds no code; see `.config/hakari.toml`.
