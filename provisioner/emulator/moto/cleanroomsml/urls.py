"""cleanroomsml base URL and path."""

from .responses import CleanRoomsMLResponse

url_bases = [
    r"https?://cleanrooms-ml\.(.+)\.amazonaws\.com",
]

url_paths = {
    "{0}/configured-model-algorithms$": CleanRoomsMLResponse.dispatch,
    "{0}/configured-model-algorithms/(?P<configuredModelAlgorithmArn>.+)$": CleanRoomsMLResponse.dispatch,
    "{0}/tags/(?P<resourceArn>.+)$": CleanRoomsMLResponse.dispatch,
}
