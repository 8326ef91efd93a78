use super::*;
use crate::{
    exposition::{self, Part, Scope},
    families::Reading,
    sources::page::{self, Owner},
};

fn source(service: &str, format: Format, text: &str) -> SourcePage {
    let owner = Owner {
        service: service.into(),
        labels: Vec::new(),
    };
    page::parse(text.as_bytes(), format, &owner).unwrap()
}

fn envoy(stats: &str) -> Reading {
    Reading::of(stats.as_bytes(), &BTreeMap::new())
}

/// The samples of a page, and what each source lost.
fn joined(
    envoys: &[Reading],
    sources: &[SourcePage],
    format: Format,
) -> (Vec<String>, Vec<Vec<(SeriesDrop, u64)>>) {
    let readings: Vec<_> = envoys
        .iter()
        .map(|reading| reading.families.as_slice())
        .collect();
    let sources: Vec<_> = sources.iter().collect();
    let mut join = Join::new(format);
    let of_envoys = join.envoys(&readings);
    let of_sources = join.sources(&readings, &sources);
    let families = of_envoys.families.iter().chain(&of_sources.families);
    let parts: Vec<Part<'_>> = families.map(|families| Part::plain(families)).collect();
    let page = exposition::page(&parts, Scope::All, format);
    // One header a family, whoever contributes.
    let heads: Vec<_> = page
        .lines()
        .filter(|line| line.starts_with("# TYPE"))
        .collect();
    let distinct: BTreeSet<_> = heads.iter().collect();
    assert_eq!(heads.len(), distinct.len(), "{page}");
    let is_shown = |line: &&str| {
        let is_sample = !line.is_empty() && !line.starts_with('#');
        is_sample
            || line.starts_with("# TYPE")
                && !line.starts_with("# TYPE http")
                && !line.contains(" gatemeter")
    };
    let dropped = |dropped: BTreeMap<SeriesDrop, u64>| dropped.into_iter().collect();
    let usual = [
        "active_connections gauge",
        "db_connections_active gauge",
        "db_connections_idle gauge",
        "cache_hits",
        "cache_misses",
    ];
    (
        page.lines()
            .filter(is_shown)
            .filter(|line| {
                !usual
                    .iter()
                    .any(|name| line.starts_with(&format!("# TYPE {name}")))
            })
            .map(str::to_owned)
            .collect(),
        of_sources.dropped.into_iter().map(dropped).collect(),
    )
}

const STATS: &str = "wasmcustom.http_requests_total.service=api.method=GET.path=/.status=200: 7\n\
    wasmcustom.db_connections_active.service=api: 3\n";

#[test]
fn envoy_wins_for_its_services_and_the_pages_say_what_it_does_not() {
    let page = "# TYPE http_requests_total counter\nhttp_requests_total{path=\"/\"} 9\n\
        # TYPE db_connections_active gauge\ndb_connections_active 4\n\
        # TYPE db_connections_idle gauge\ndb_connections_idle 5\n";
    let sources = [
        source("api", Format::Text, page),
        source("playback", Format::Text, page),
    ];
    let (samples, dropped) = joined(&[envoy(STATS)], &sources, Format::Text);
    assert_eq!(
        samples,
        [
            "http_requests_total{service=\"api\",method=\"GET\",path=\"/\",status=\"200\"} 7",
            "http_requests_total{service=\"playback\",path=\"/\"} 9",
            "db_connections_active{service=\"api\"} 3",
            "db_connections_active{service=\"playback\"} 4",
            "db_connections_idle{service=\"api\"} 5",
            "db_connections_idle{service=\"playback\"} 5",
        ]
    );
    assert_eq!(dropped, [vec![(SeriesDrop::OfEnvoy, 2)], vec![]]);
}

#[test]
fn requests_of_a_service_that_the_filter_serves_are_envoys_before_there_are_any() {
    let page = "# TYPE http_requests_total counter\nhttp_requests_total 9\n\
        # TYPE cache_hits_total counter\ncache_hits_total 4\n";
    let stats = "wasmcustom.gatemeter_filter_info.service=api.version=1: 1\n";
    let sources = [
        source("api", Format::Text, page),
        source("worker", Format::Text, page),
    ];
    let (samples, dropped) = joined(&[envoy(stats)], &sources, Format::Text);
    let samples: Vec<_> = samples
        .iter()
        .filter(|line| line.starts_with("http") || line.starts_with("cache"))
        .collect();
    assert_eq!(
        samples,
        [
            "http_requests_total{service=\"worker\"} 9",
            "cache_hits_total{service=\"api\"} 4",
            "cache_hits_total{service=\"worker\"} 4",
        ]
    );
    assert_eq!(dropped, [vec![(SeriesDrop::OfEnvoy, 1)], vec![]]);
}

#[test]
fn a_name_has_one_type_that_of_the_catalogue_or_of_whoever_comes_first() {
    let sources = [
        source(
            "api",
            Format::Text,
            "# TYPE jobs gauge\njobs 1\nactive_connections 2\ngatemeter_up 0\n",
        ),
        source(
            "playback",
            Format::Text,
            "# TYPE jobs counter\njobs 1\njobs{a=\"b\"} 1\n",
        ),
    ];
    let (samples, dropped) = joined(&[], &sources, Format::Text);
    assert_eq!(samples, ["# TYPE jobs gauge", "jobs{service=\"api\"} 1"]);
    // What has no type is not what has one; the bridge's own names least of all.
    assert_eq!(
        dropped,
        [
            vec![(SeriesDrop::Conflict, 2)],
            vec![(SeriesDrop::Conflict, 2)]
        ]
    );
    let own = source(
        "api",
        Format::Text,
        "# TYPE gatemeter_up gauge\ngatemeter_up 0\ngatemeter_x 1\n",
    );
    let (samples, dropped) = joined(&[], &[own], Format::Text);
    assert_eq!(samples, [""; 0]);
    assert_eq!(dropped, [vec![(SeriesDrop::Reserved, 2)]]);
}

#[test]
fn a_series_that_two_pages_of_a_service_have_is_the_first_ones() {
    let sources = [
        source("api", Format::Text, "a{b=\"c\",d=\"e\"} 1\n"),
        source("api", Format::Text, "a{d=\"e\",b=\"c\"} 2\na{b=\"f\"} 3\n"),
        source("playback", Format::Text, "a{b=\"c\",d=\"e\"} 4\n"),
    ];
    let (samples, dropped) = joined(&[], &sources, Format::Text);
    assert_eq!(
        samples,
        [
            "# TYPE a untyped",
            "a{service=\"api\",b=\"c\",d=\"e\"} 1",
            "a{service=\"api\",b=\"f\"} 3",
            "a{service=\"playback\",b=\"c\",d=\"e\"} 4",
        ]
    );
    assert_eq!(dropped, [vec![], vec![(SeriesDrop::Duplicate, 1)], vec![]]);
}

#[test]
fn samples_that_have_the_names_of_another_familys_are_left_out_in_both_formats() {
    let page = "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n\
        # TYPE a_count gauge\na_count{b=\"c\"} 5\n# TYPE http_requests gauge\nhttp_requests 1\n";
    // A name that is told of comes before a suffix, so the histogram has no count
    // and is none.
    let read = source("api", Format::Text, page);
    assert_eq!(
        read.dropped,
        BTreeMap::from([(SeriesDrop::Inconsistent, 1)])
    );
    for format in [Format::Text, Format::OpenMetrics] {
        let sources = [
            source(
                "api",
                Format::Text,
                "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n",
            ),
            source(
                "api",
                Format::Text,
                "# TYPE a_count gauge\na_count 5\n# TYPE http_requests gauge\nhttp_requests 1\n",
            ),
        ];
        let (samples, dropped) = joined(&[], &sources, format);
        assert_eq!(dropped, [vec![], vec![(SeriesDrop::Conflict, 2)]]);
        let lines: Vec<_> = samples
            .iter()
            .filter(|line| line.starts_with('a'))
            .collect();
        assert_eq!(
            lines,
            [
                "a_bucket{service=\"api\",le=\"+Inf\"} 1",
                "a_sum{service=\"api\"} 1",
                "a_count{service=\"api\"} 1"
            ]
        );
    }
}

#[test]
fn openmetrics_has_counters_that_it_has_no_name_for_as_unknown() {
    let page = "# TYPE a gauge\na 1\n# TYPE a_total counter\na_total 2\n\
        # TYPE b counter\nb 3\n# TYPE c_total counter\nc_total 4\n\
        # TYPE _total counter\n_total 5\n";
    let sources = [source("api", Format::Text, page)];
    let (samples, dropped) = joined(&[], &sources, Format::OpenMetrics);
    assert_eq!(
        samples,
        [
            "# TYPE _total unknown",
            "_total{service=\"api\"} 5",
            "# TYPE a gauge",
            "a{service=\"api\"} 1",
            "# TYPE a_total unknown",
            "a_total{service=\"api\"} 2",
            "# TYPE b unknown",
            "b{service=\"api\"} 3",
            "# TYPE c counter",
            "c_total{service=\"api\"} 4",
        ]
    );
    assert_eq!(dropped, [vec![]]);
    let (samples, _) = joined(&[], &sources, Format::Text);
    assert!(
        samples.contains(&"# TYPE a_total counter".to_owned()),
        "{samples:?}"
    );
    assert!(
        samples.contains(&"# TYPE b counter".to_owned()),
        "{samples:?}"
    );
}

#[test]
fn openmetrics_has_no_sum_and_no_quantile_below_zero() {
    let page = "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum -5\n\
        # TYPE b summary\nb{quantile=\"0.5\"} -5\nb{quantile=\"0.9\"} 5\nb_count 1\nb_sum NaN\n";
    let sources = [source("api", Format::Text, page)];
    let (samples, _) = joined(&[], &sources, Format::OpenMetrics);
    assert_eq!(
        samples,
        [
            "# TYPE a histogram",
            "a_bucket{service=\"api\",le=\"+Inf\"} 1",
            "# TYPE b summary",
            "b{service=\"api\",quantile=\"0.9\"} 5",
            "b_count{service=\"api\"} 1",
        ]
    );
    let quantiles = "# TYPE c summary\nc{quantile=\"0.5\"} -5\nc_created 1\n# EOF\n";
    let only = [source("api", Format::OpenMetrics, quantiles)];
    let (samples, _) = joined(&[], &only, Format::OpenMetrics);
    assert_eq!(samples, [""; 0]);
    let (samples, _) = joined(&[], &sources, Format::Text);
    assert!(samples.contains(&"a_sum{service=\"api\"} -5".to_owned()));
    assert!(samples.contains(&"b{service=\"api\",quantile=\"0.5\"} -5".to_owned()));
}

#[test]
fn the_time_of_creation_is_a_gauge_of_its_own_in_text() {
    let page = "# TYPE a counter\n# HELP a A\na_total 1\na_created 1.7e+09\n# EOF\n";
    let sources = [source("api", Format::OpenMetrics, page)];
    let (samples, _) = joined(&[], &sources, Format::OpenMetrics);
    assert_eq!(
        samples,
        [
            "# TYPE a counter",
            "a_total{service=\"api\"} 1",
            "a_created{service=\"api\"} 1.7e+09"
        ]
    );
    let (samples, _) = joined(&[], &sources, Format::Text);
    assert_eq!(
        samples,
        [
            "# TYPE a_total counter",
            "a_total{service=\"api\"} 1",
            "# TYPE a_created gauge",
            "a_created{service=\"api\"} 1.7e+09",
        ]
    );
}

#[test]
fn an_envoy_whose_configuration_names_a_metric_otherwise_loses_it() {
    let named = |kind: &str| {
        envoy(&format!(
            "wasmcustom.gatemeter_family.service=api.metric=jobs_total.type={kind}.help=Jobs: 1\n\
             wasmcustom.gatemeter_filter_info.service=api.version=1: 1\n\
             wasmcustom.jobs_total.service=api: 5\n"
        ))
    };
    let (one, other) = (named("counter"), named("gauge"));
    let readings = [one.families.as_slice(), other.families.as_slice()];
    let joined = Join::new(Format::Text).envoys(&readings);
    assert_eq!(
        joined.dropped,
        [BTreeMap::new(), BTreeMap::from([(SeriesDrop::Conflict, 1)])]
    );
    let has = |families: &[Family]| families.iter().any(|family| family.name == "jobs_total");
    assert!(has(&joined.families[0]) && !has(&joined.families[1]));
    assert!(matches!(joined.families[0], Cow::Borrowed(_)));
}
