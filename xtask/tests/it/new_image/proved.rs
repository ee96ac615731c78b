//! Projects that become images with a tag, with no edit by hand, on a real engine.

use super::MAIN;
use crate::build_images::{docker, remove_images, roomy};
use crate::sandbox::Checkout;

/// Removes the images of a test's names, whatever comes.
struct Named(String);

impl Drop for Named {
    fn drop(&mut self) {
        remove_images(&self.0);
    }
}

/// From `new` to a tag, with no edit by hand; what the build said.
fn becomes_an_image(shape: &str, files: &[(&str, &str)]) -> String {
    let checkout = Checkout::new();
    roomy(&checkout);
    let name = format!("{shape}-{}", std::process::id());
    let named = Named(name.clone());
    for (path, text) in files {
        checkout.write(&format!("apps/{name}/{path}"), text);
    }
    let folder = checkout.path(&format!("apps/{name}")).display().to_string();
    checkout.xtask(&["new", &folder]).expect(0);
    let run = checkout.xtask(&["build-images", &name]).expect(0);
    docker(&[
        "image",
        "inspect",
        "--format",
        "{{.Id}}",
        &format!("hive-{name}:latest"),
    ]);
    drop(named);
    run.stderr
}

#[test]
#[ignore = "needs an engine"]
fn a_main_py_with_unpinned_requirements_becomes_an_image() {
    // Data outside of the volume go with the container, which nobody else would say: no reader of
    // the code knows this folder's name.
    let main = format!(
        "{MAIN}\n\nos.makedirs(\"\".join([\"st\", \"ate\"]), exist_ok=True)\nwith open(\"state/app.db\", \"w\") as file:\n    \
         file.write(\"x\")\n"
    );
    let files = [
        ("requirements.txt", "fastapi\nuvicorn\npsycopg[binary]\n"),
        ("main.py", main.as_str()),
    ];
    let said = becomes_an_image("new-main", &files);
    let told = "the app wrote /app/state/app.db, outside of its volume: that goes with the container; \
                `\"directories\": [\"state\"]` of `app` keeps the folder";
    assert!(said.contains(told), "{said}");
}

#[test]
#[ignore = "needs an engine"]
fn a_factory_with_async_sqlalchemy_in_src_becomes_an_image() {
    let folder = "tests/fixtures/src-factory-app";
    let of = |path: &str| {
        fs_err::read_to_string(crate::sandbox::repository().join("xtask").join(folder).join(path))
    };
    let paths = [
        "pyproject.toml",
        "uv.lock",
        "src/shelf/__init__.py",
        "src/shelf/db.py",
        "src/shelf/web.py",
    ];
    let texts = paths.map(|path| of(path).unwrap());
    let files: Vec<(&str, &str)> = paths.into_iter().zip(texts.iter().map(String::as_str)).collect();
    becomes_an_image("new-src", &files);
}

const SETTINGS: &str = r#"
import os

import dj_database_url

SECRET_KEY = os.getenv("SECRET_KEY", "for this test")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "board.urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "notes"]
DATABASES = {"default": dj_database_url.config()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"#;

const URLS: &str = r#"
from django.db import connection
from django.http import JsonResponse
from django.urls import path

from notes.models import Note


def healthz(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"notes": Note.objects.count()})


urlpatterns = [path("healthz", healthz)]
"#;

const MIGRATION: &str = r#"
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("text", models.TextField())])
    ]
"#;

#[test]
#[ignore = "needs an engine"]
fn django_with_migrations_becomes_an_image() {
    let served = |of: &str| {
        format!(
            "import os\nfrom django.core.{of} import get_{of}_application\n\
             os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'board.settings')\n\
             application = get_{of}_application()\n"
        )
    };
    let manage = "import os, sys\nfrom django.core.management import execute_from_command_line\n\
                  os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'board.settings')\n\
                  execute_from_command_line(sys.argv)\n";
    let model =
        "from django.db import models\n\n\nclass Note(models.Model):\n    text = models.TextField()\n";
    let (asgi, wsgi) = (served("asgi"), served("wsgi"));
    let files = [
        (
            "requirements.txt",
            "django\ndj-database-url\npsycopg[binary]\ngunicorn\n",
        ),
        ("manage.py", manage),
        ("board/__init__.py", ""),
        ("board/settings.py", SETTINGS),
        ("board/urls.py", URLS),
        ("board/asgi.py", &asgi),
        ("board/wsgi.py", &wsgi),
        ("notes/__init__.py", ""),
        ("notes/models.py", model),
        ("notes/migrations/__init__.py", ""),
        ("notes/migrations/0001_initial.py", MIGRATION),
    ];
    becomes_an_image("new-django", &files);
}
