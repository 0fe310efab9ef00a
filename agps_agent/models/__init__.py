"""Chat models behind one interface, LangChain's BaseChatModel: any OpenAI-compatible URL, embedded, recorded."""
