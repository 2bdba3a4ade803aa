# For compose.yaml. Two stages, so that what builds is not in what runs.
# A tag may be another image tomorrow. To pin the one that you have looked at, give its digest:
#   docker build --build-arg PYTHON=python:3.12-slim@sha256:... .
# (docker image inspect --format '{{index .RepoDigests 0}}' python:3.12-slim shows it).
ARG PYTHON=python:3.12-slim
FROM ${PYTHON} AS build
WORKDIR /src
COPY requirements requirements
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes -r requirements/runtime.txt -r requirements/build.txt
COPY . .
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM ${PYTHON}
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH
# Any user will do; compose.yaml names one.
USER 65534:65534
ENTRYPOINT ["killsyncd"]
CMD ["run"]
