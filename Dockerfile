FROM python:3.12-slim-bookworm
RUN apt-get update && apt-get install --yes --no-install-recommends gcc g++ libgomp1 \
    && rm -rf /var/lib/apt/lists/* && useradd --create-home recsys
WORKDIR /srv
RUN pip install --no-cache-dir uv
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN uv pip install --system --no-cache -r requirements.lock
COPY recsys recsys
COPY training training
COPY serving serving
COPY configs configs
RUN uv pip install --system --no-cache --no-deps . && mkdir .recsys && chown recsys .recsys
USER recsys
ENV BENTOML_DO_NOT_TRACK=True OPENBLAS_NUM_THREADS=1
EXPOSE 3000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:3000/livez')"]
# Listening beyond the container needs RECSYS_API_KEY in its environment.
CMD ["python", "-m", "serving", "--config", "configs/serving.yaml", "--host", "0.0.0.0"]
