//! A small spec for tests of other crates.

use definition::spec::ImageSpec;
use definition::spec::load::{ImageFiles, SourceFile, load};

/// genie, with a check of its own.
pub(crate) fn spec() -> ImageSpec {
    let text = serde_json::json!({
        "title": "genie",
        "app": {"source": "app", "import": "api:app", "port": 48886, "health_path": "/health"},
        "database": {"name": "hive_genie", "role": "hive", "extensions": ["vector"]},
        "budgets": {
            "ready_seconds": 10, "restart_seconds": 6, "stop_seconds": 5, "health_ms": 100,
            "query_ms": 25, "memory_mb": 200, "size_mb": 330,
        },
        "checks": [{"name": "root", "http": {"path": "/"}}],
    })
    .to_string();
    let file = SourceFile {
        shown: "image.json".into(),
        folder: "/nowhere".into(),
        text,
    };
    let files = ImageFiles {
        name: "genie".into(),
        own: file,
        app: None,
    };
    load(None, &[files]).unwrap().remove(0)
}
