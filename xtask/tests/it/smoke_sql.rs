//! The full suite's faults of SQL, on images without the guards that they are
//! there for.

use crate::smoke_full::each_finds_its_flaw;
use crate::smoke_volumes::without;

#[test]
#[ignore = "needs an engine"]
fn an_image_in_which_the_app_can_rise() {
    // The superuser looks names up wherever the app's role wants it to.
    let lines = without(&["sed -i '/\"search_path\": /d' settings.py"]);
    let said = "after traps for the superuser: the app's role rose: superuser is on";
    each_finds_its_flaw("app-can-rise", &lines, &[("sql-attacks", said)]);
}

#[test]
#[ignore = "needs an engine"]
fn an_image_that_an_admin_or_the_app_can_close() {
    let lines = without(&[
        "sed -i 's/^    open_up(said)/    pass/' database.py",
        "sed -i '/\"password_encryption\": /d' ../run-postgresql",
    ]);
    each_finds_its_flaw(
        "can-be-closed",
        &lines,
        &[
            (
                "sql-attacks",
                "the app's role closed its database: the container ended",
            ),
            ("alter-system", "ALTER SYSTEM moved password_encryption=md5"),
        ],
    );
}
