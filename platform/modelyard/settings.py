"""Django settings. Everything an operator sets comes from MODELYARD_* (see docs/reference/settings.md)."""

from functools import partial
from pathlib import Path
from urllib.parse import quote

import dj_database_url
from celery.schedules import schedule
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.csp import CSP
from django.utils.translation import gettext_lazy as _

from modelyard import __version__, environment

PACKAGE = Path(__file__).resolve().parent
DATA_DIR = environment.data_directory()

SECRET_KEY = environment.secret_key()
SECRET_KEY_FALLBACKS = environment.names("SECRET_KEY_FALLBACKS")
DEBUG = environment.flag("DEBUG")
PUBLIC_URL = environment.text("PUBLIC_URL").rstrip("/")  # what snippets show; empty: the address of the request
ALLOWED_HOSTS = environment.names("ALLOWED_HOSTS") or ["*"]
CSRF_TRUSTED_ORIGINS = environment.names("TRUSTED_ORIGINS") or ([PUBLIC_URL] if PUBLIC_URL else [])
if environment.flag("BEHIND_TLS_PROXY"):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "rest_framework",
    "knox",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "modelyard",
    "apps.models",
    "apps.apikeys",
    "apps.deployments",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "modelyard.language.SiteLanguage",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# No script or style but the site's own files; unfold's Alpine compiles expressions in its attributes: hence the eval.
SECURE_CSP: dict[str, list[str]] = {
    "default-src": [CSP.SELF],
    "script-src": [CSP.SELF, CSP.UNSAFE_EVAL],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.SELF],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}

ROOT_URLCONF = "modelyard.urls"
CSRF_FAILURE_VIEW = "modelyard.refusals.no_csrf"
ASGI_APPLICATION = "modelyard.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [PACKAGE / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database ---------------------------------------------------------------------------------------------------------

DATABASE_URL = environment.text("DATABASE_URL") or f"sqlite:///{quote(str(DATA_DIR / 'modelyard.sqlite3'))}"
DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_health_checks=True)}
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    DATABASES["default"]["OPTIONS"] = {
        # Several processes write. IMMEDIATE takes the write lock at BEGIN, where SQLite waits for it; a lock upgraded
        # in the middle of a transaction would fail at once instead.
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Tests use a file too: several real processes and threads share it, as in production.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}

# --- Redis: broker, cache, limits -------------------------------------------------------------------------------------

RUN_DIR = environment.directory("run")
VALKEY_SOCKET = RUN_DIR / "valkey.sock"
REDIS_URL = environment.text("REDIS_URL") or f"unix://{quote(str(VALKEY_SOCKET))}?db=0"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL}}

CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://").replace("?db=", "?virtual_host=")
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True  # a task of a killed worker is delivered again
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Above the longest task: a shorter one hands a running import to a second worker.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6 * 3600}
CELERY_TASK_DEFAULT_QUEUE = "control"
# A long import never delays a deployment, nor what looks after imports.
CELERY_TASK_ROUTES = {"apps.models.tasks.import_model": {"queue": "imports"}}
CELERY_BEAT_SCHEDULER = "modelyard.beat:Scheduler"
CELERY_BEAT_SCHEDULE_FILENAME = str(RUN_DIR / "beat")
CELERY_BEAT_SCHEDULE = {
    "reconcile every live deployment": {
        "task": "apps.deployments.tasks.reconcile_all",
        "schedule": schedule(5.0),
        "options": {"expires": 10},
    },
    "fail what is stalled": {
        "task": "apps.deployments.tasks.watch",
        "schedule": schedule(10.0),
        "options": {"expires": 20},
    },
    "end engines nobody owns": {
        "task": "apps.deployments.tasks.reap",
        "schedule": schedule(60.0),
        "options": {"expires": 60},
    },
    "take up interrupted imports": {
        "task": "apps.models.tasks.sweep",
        "schedule": schedule(15.0),
        "options": {"expires": 30},
    },
    "delete usage and events that were kept long enough": {
        "task": "apps.deployments.tasks.forget_usage",
        "schedule": schedule(3600.0),
        "options": {"expires": 3600},
    },
}

# --- People and programs ----------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "modelyard.api.authentication.UserTokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["modelyard.api.permissions.VerbPermissions"],
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "DEFAULT_PAGINATION_CLASS": "modelyard.api.pagination.Pages",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "URL_FORMAT_OVERRIDE": None,  # `?format=onnx` asks for models, not for a rendering
    "EXCEPTION_HANDLER": "modelyard.api.errors.handle",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
REST_KNOX = {"TOKEN_TTL": None, "AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "myt_"}
SPECTACULAR_SETTINGS = {
    "TITLE": "Modelyard API",
    "DESCRIPTION": "Import models, deploy them, hand out keys, and call deployments.",
    "VERSION": __version__,
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ModelStatus": "apps.models.models.Status",
        "DeploymentStatus": "apps.deployments.statuses.Status",
        "ReplicaState": "apps.deployments.statuses.ReplicaState",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.deployments.gateway.schema.add_gateway_paths",
    ],
}

# --- Files ------------------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [PACKAGE / "static"]
SERVESTATIC_USE_FINDERS = True  # served from the packages themselves: no collectstatic to forget
SERVESTATIC_AUTOREFRESH = False
MODELS_DIR = environment.directory("models")
UPLOADS_DIR = environment.directory("uploads")
ENGINES_DIR = environment.directory("engines")
ARTIFACTS_DIR = environment.directory("artifacts")  # what optimization recipes made
FILE_UPLOAD_TEMP_DIR = str(UPLOADS_DIR)  # the same file system as the models, so that a finished upload is only renamed
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]
MAX_UPLOAD_BYTES = environment.number("MAX_UPLOAD_BYTES", 64 * 2**30)
UPLOAD_QUOTA_BYTES = environment.number("UPLOAD_QUOTA_BYTES", 0)  # of one person's unfinished uploads; 0: any
UPLOADS_TOTAL_BYTES = environment.number("UPLOADS_TOTAL_BYTES", 0)  # of all unfinished uploads; 0: what the disk takes
UPLOAD_EXPIRES_SECONDS = environment.number("UPLOAD_EXPIRES_SECONDS", 7 * 86_400)  # after the last byte of one
MAX_UNPACKED_BYTES = environment.number("MAX_UNPACKED_BYTES", 256 * 2**30)
CHECK_SECONDS = environment.number("CHECK_SECONDS", 3600)  # that checking the files of one import may take; 0: any
HUB_ENDPOINT = environment.hub_endpoint()  # or a mirror of it
HUB_STALL_SECONDS = environment.number("HUB_STALL_SECONDS", 60)  # without a byte, after which a download is begun anew
CATALOGUE = environment.names("CATALOGUE")  # files, folders and bundles of the operator's, beside what ships
MAX_REQUEST_BYTES = environment.number("MAX_REQUEST_BYTES", 32 * 2**20)  # of one call through the gateway

# --- Engines ----------------------------------------------------------------------------------------------------------

ENGINE_PORTS = environment.text("ENGINE_PORTS", "20000-29999")  # loopback ports that engines listen on
STALLED_AFTER = environment.number("STALLED_AFTER", 120)  # seconds a working status may go without a heartbeat

# --- Gateway ----------------------------------------------------------------------------------------------------------

GATEWAY_MAX_IN_FLIGHT = environment.number(
    "GATEWAY_MAX_IN_FLIGHT", 512
)  # per deployment and web process; above it: 429
GATEWAY_STALE_SECONDS = environment.number("GATEWAY_STALE_SECONDS", 60)  # known keys serve so long without a database
GATEWAY_TIMEOUT = environment.number("GATEWAY_TIMEOUT", 300)  # seconds without a byte from the engine; after it: 504
GATEWAY_CONNECT_TIMEOUT = environment.number("GATEWAY_CONNECT_TIMEOUT", 5)  # seconds to connect to an engine
GATEWAY_TOTAL_TIMEOUT = environment.number("GATEWAY_TOTAL_TIMEOUT", 0)  # seconds of a whole call; 0: any
GATEWAY_CLIENT_ADDRESSES = environment.flag("GATEWAY_CLIENT_ADDRESSES", default=True)  # callers' in ledger and keys
USAGE_BUFFER = environment.number("USAGE_BUFFER", 100_000)  # calls that wait for the database per web process
REDIS_AWAY_SECONDS = environment.number("REDIS_AWAY_SECONDS", 300)  # calls are served so long without Redis; 0: none
CORS_ORIGINS = environment.names("CORS_ORIGINS")  # origins whose pages may call deployments; *: any
METRICS_TOKEN = environment.text("METRICS_TOKEN")  # opens /metrics; empty: from this host only

# --- Usage ------------------------------------------------------------------------------------------------------------

CENTURY = 36_500  # days; whoever wants to keep something for ever
USAGE_DAYS = environment.number("USAGE_DAYS", 90, least=1, most=CENTURY)  # that records of single calls are kept
# That sums by hour are kept; those by day stay.
USAGE_HOURS_DAYS = environment.number("USAGE_HOURS_DAYS", 400, least=1, most=CENTURY)
# That events are kept which neither say who did what nor change a status.
EVENT_DAYS = environment.number("EVENT_DAYS", 90, least=1, most=CENTURY)
REDACT_PATTERNS = environment.text("REDACT_PATTERNS")  # regular expressions, a line each or between `;;`

# --- Language, logs ---------------------------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [PACKAGE / "locale"]  # the apps have theirs beside them
USE_I18N = True
USE_TZ = True
TIME_ZONE = environment.text("TIME_ZONE", "UTC")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": environment.text("LOG_LEVEL", "INFO")},
    "loggers": {"django.server": {"level": "WARNING"}, "httpx": {"level": "WARNING"}, "httpx2": {"level": "WARNING"}},
}

# --- Admin ------------------------------------------------------------------------------------------------------------

STYLES = ("theme", "layout", "parts", "forms", "tables", "notices", "charts")
SCRIPTS = ("js/core", "js/session", "js/asking", "js/live", "js/times", "js/keyboard", "js/naming")


def _static(path: str, _request: HttpRequest) -> str:
    return static(f"modelyard/{path}")


UNFOLD = {
    "SITE_TITLE": "Modelyard",
    "SITE_HEADER": "Modelyard",
    "SITE_SUBHEADER": _("Models, deployments, keys"),
    "SITE_ICON": lambda _: static("modelyard/favicon.svg"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _: static("modelyard/favicon.svg")}],
    "SITE_URL": None,
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": False,
    "SHOW_LANGUAGES": True,
    "SITE_VIEWS": [
        ["usage/", "usage", "apps.deployments.usage.pages.UsagePage"],
        ["runtimes/", "runtimes", "modelyard.admin.RuntimesPage"],
        ["tokens/", "tokens", "modelyard.admin.TokensPage"],
        ["home/now/", "home-now", "modelyard.home.NowPage"],
        ["home/traffic/", "home-traffic", "modelyard.home.TrafficFigures"],
        ["session/", "session", "modelyard.admin.SessionState"],
    ],
    "GLOBAL_CALLBACK": "modelyard.admin.without_inline_colours",
    "DASHBOARD_CALLBACK": "modelyard.home.dashboard",
    "STYLES": [partial(_static, f"css/{name}.css") for name in STYLES],
    "SCRIPTS": [partial(_static, f"{name}.js") for name in SCRIPTS],
    "SIDEBAR": {
        "show_search": False,
        "navigation": [
            {
                "items": [
                    {"title": _("Home"), "icon": "home", "link": reverse_lazy("admin:index")},
                    {
                        "title": _("Models"),
                        "icon": "deployed_code",
                        "link": reverse_lazy("admin:models_model_changelist"),
                        "permission": "modelyard.admin.may_see_models",
                    },
                    {
                        "title": _("Deployments"),
                        "icon": "rocket_launch",
                        "link": reverse_lazy("admin:deployments_deployment_changelist"),
                        "permission": "modelyard.admin.may_see_deployments",
                    },
                    {
                        "title": _("API keys"),
                        "icon": "key",
                        "link": reverse_lazy("admin:apikeys_apikey_changelist"),
                        "permission": "modelyard.admin.may_see_keys",
                    },
                    {
                        "title": _("Usage"),
                        "icon": "bar_chart",
                        "link": reverse_lazy("admin:usage"),
                        "permission": "apps.deployments.usage.pages.may_see",
                    },
                    {
                        "title": _("Runtimes"),
                        "icon": "memory",
                        "link": reverse_lazy("admin:runtimes"),
                        "permission": "modelyard.admin.may_see_deployments",
                    },
                ],
            },
            {
                "title": _("Access"),
                "separator": True,
                "items": [
                    {"title": _("My API tokens"), "icon": "token", "link": reverse_lazy("admin:tokens")},
                    {
                        "title": _("Users"),
                        "icon": "person",
                        "link": reverse_lazy("admin:auth_user_changelist"),
                        "permission": "modelyard.admin.may_see_users",
                    },
                    {
                        "title": _("Groups"),
                        "icon": "group",
                        "link": reverse_lazy("admin:auth_group_changelist"),
                        "permission": "modelyard.admin.may_see_groups",
                    },
                    {"title": _("API documentation"), "icon": "api", "link": reverse_lazy("docs")},
                ],
            },
        ],
    },
}
